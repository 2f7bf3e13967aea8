"""An export, read and checked as a whole before anything is made of it. Pure.

The law of this file: what passes here can be appended from its first fact to its last, and makes a chat that the
API could have made. Each complaint names its line.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from infra.transfer.checks import check_fact, is_whole
from shared.domain import subjects
from shared.domain.chat import ChatState, evolve
from shared.domain.errors import UnspoolError
from shared.domain.events import (
    AnswerEvent,
    AnswerRequested,
    ChatCreated,
    Fact,
    MessageRequested,
    decode_answer_event,
    decode_fact,
    name_of,
)
from shared.domain.subjects import AnswerId, ChatId, Sequence

BYTES_MAX = 512 * 1024**2
"""Of a whole export: it is held in memory."""


class BrokenExport(UnspoolError):
    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number} of the export: {reason}")
        self.number = number


class Told(Struct, frozen=True):
    """A fact, and the sequence that it had: others refer to it by that."""

    sequence: Sequence
    fact: Fact


class Exported(Struct, frozen=True):
    """A chat to be imported. `tokens` has whole answers only; those that had lost some of theirs are in `left_out`."""

    chat: ChatId
    facts: list[Told]
    tokens: dict[AnswerId, list[AnswerEvent]]
    left_out: list[AnswerId]


class _Line(Struct):
    subject: str
    sequence: Sequence
    event: msgspec.Raw


_lines = msgspec.json.Decoder(_Line)


def read(lines: Iterable[bytes]) -> Exported:
    """Raises `BrokenExport`."""
    reading = _Reading()
    size, number = 0, 0
    for number, line in enumerate(lines, start=1):
        size += len(line)
        if size > BYTES_MAX:
            raise BrokenExport(number, f"an export may have {BYTES_MAX} bytes")
        try:
            if line.strip():
                reading.line(number, _lines.decode(line))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BrokenExport(number, str(error) or type(error).__name__) from error
    return reading.exported(number)


class _Reading:
    def __init__(self) -> None:
        self._facts: list[Told] = []
        self._sequences: set[Sequence] = set()
        self._ids: set[str] = set()
        self._state: ChatState | None = None
        self._events: dict[AnswerId, list[AnswerEvent]] = {}
        self._first_line_of: dict[AnswerId, int] = {}

    def line(self, number: int, line: _Line) -> None:
        match subjects.stream_of(line.subject):
            case subjects.CHATS:
                self._fact(line, decode_fact(line.event))
            case subjects.TOKENS:
                self._event(number, line, decode_answer_event(line.event))
            case stream:
                raise ValueError(f"{stream} holds nothing of a chat")

    def _fact(self, line: _Line, fact: Fact) -> None:
        if self._state is None:
            if not isinstance(fact, ChatCreated) or subjects.client_id(fact.chat) != fact.chat:
                raise ValueError("the first fact of an export is that its chat was created")
            self._state = ChatState(fact.chat)
        if fact.chat != self._state.id or line.subject != subjects.fact(fact.chat, name_of(fact)):
            raise ValueError("an export holds the events of one chat, each on its own subject")
        if line.sequence <= self._state.sequence:
            raise ValueError("the sequences of facts go up")
        if fact.id in self._ids:
            raise ValueError(f"a fact with the id {fact.id!r} is there already")
        if isinstance(fact, MessageRequested | AnswerRequested) and not self._sequences.issuperset(
            fact.context
        ):
            raise ValueError("its context names facts that are not there before it")
        check_fact(fact, self._state)
        evolve(self._state, fact, line.sequence)
        self._facts.append(Told(line.sequence, fact))
        self._sequences.add(line.sequence)
        self._ids.add(fact.id)

    def _event(self, number: int, line: _Line, event: AnswerEvent) -> None:
        answer = AnswerId(line.subject.rpartition(".")[2])
        if not subjects.is_answer_id(answer) or line.subject != subjects.answer(answer):
            raise ValueError(f"{line.subject!r} is no answer's subject")
        self._events.setdefault(answer, []).append(event)
        self._first_line_of.setdefault(answer, number)

    def exported(self, lines: int) -> Exported:
        """`lines`: how many there were."""
        if self._state is None:
            raise BrokenExport(lines, "the export ends, and there was no chat in it")
        answers = self._state.answers
        for answer, number in self._first_line_of.items():
            if answer not in answers:
                raise BrokenExport(number, f"the answer {answer} was never asked for")
        whole = {
            answer: events
            for answer, events in self._events.items()
            if is_whole(events, ended=answers[answer].ended is not None)
        }
        left_out = [answer for answer in self._events if answer not in whole]
        return Exported(self._state.id, self._facts, whole, left_out)
