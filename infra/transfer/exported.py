"""Reads an export and validates it as a whole before an import appends anything. Pure.

Invariant: the facts of an accepted export can be appended from the first to the last, and form a chat that the API
could have created. Every error names its line.
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
"""Limit of a whole export, which is held in memory."""


class BrokenExport(UnspoolError):
    """A line of the export is not valid; nothing was imported."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(f"line {number} of the export: {reason}")
        self.number = number


class ExportedFact(Struct, frozen=True):
    """A fact and its sequence in the exporting log, which the `context` of later facts refers to."""

    sequence: Sequence
    fact: Fact


class Export(Struct, frozen=True):
    """A chat to import. `tokens` has the events of complete answers; `left_out` names answers that lost events."""

    chat: ChatId
    facts: list[ExportedFact]
    tokens: dict[AnswerId, list[AnswerEvent]]
    left_out: list[AnswerId]


class _Line(Struct):
    subject: str
    sequence: Sequence
    event: msgspec.Raw


_decoder = msgspec.json.Decoder(_Line)


def read_export(lines: Iterable[bytes]) -> Export:
    """Returns the export. Raises `BrokenExport` with the number of the first line that is not valid."""
    reader = _ExportReader()
    size, number = 0, 0
    for number, line in enumerate(lines, start=1):
        size += len(line)
        if size > BYTES_MAX:
            raise BrokenExport(number, f"the export exceeds {BYTES_MAX} bytes")
        try:
            if line.strip():
                reader.add_line(number, _decoder.decode(line))
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise BrokenExport(number, str(error) or type(error).__name__) from error
    return reader.finish(number)


class _ExportReader:
    def __init__(self) -> None:
        self._facts: list[ExportedFact] = []
        self._sequences: set[Sequence] = set()
        self._ids: set[str] = set()
        self._state: ChatState | None = None
        self._events: dict[AnswerId, list[AnswerEvent]] = {}
        self._first_line_of: dict[AnswerId, int] = {}

    def add_line(self, number: int, line: _Line) -> None:
        match subjects.stream_of(line.subject):
            case subjects.CHATS:
                self._add_fact(line, decode_fact(line.event))
            case subjects.TOKENS:
                self._add_event(number, line, decode_answer_event(line.event))
            case stream:
                raise ValueError(f"the stream {stream} does not belong to an export")

    def _add_fact(self, line: _Line, fact: Fact) -> None:
        if self._state is None:
            if not isinstance(fact, ChatCreated) or subjects.client_id(fact.chat) != fact.chat:
                raise ValueError("the first fact of an export must be chat-created")
            self._state = ChatState(fact.chat)
        if fact.chat != self._state.id or line.subject != subjects.fact(fact.chat, name_of(fact)):
            raise ValueError("all events of an export must belong to one chat, each with its subject")
        if line.sequence <= self._state.sequence:
            raise ValueError("the sequences of facts must increase")
        if fact.id in self._ids:
            raise ValueError(f"the fact id {fact.id!r} occurs twice")
        if isinstance(fact, MessageRequested | AnswerRequested) and not self._sequences.issuperset(
            fact.context
        ):
            raise ValueError("its context refers to a fact that does not precede it")
        check_fact(fact, self._state)
        evolve(self._state, fact, line.sequence)
        self._facts.append(ExportedFact(line.sequence, fact))
        self._sequences.add(line.sequence)
        self._ids.add(fact.id)

    def _add_event(self, number: int, line: _Line, event: AnswerEvent) -> None:
        _, _, answer = subjects.parse(line.subject)
        if answer is None or not subjects.is_answer_id(answer) or line.subject != subjects.answer(answer):
            raise ValueError(f"{line.subject!r} is not the subject of an answer")
        self._events.setdefault(answer, []).append(event)
        self._first_line_of.setdefault(answer, number)

    def finish(self, lines: int) -> Export:
        """Returns the export after its last line. `lines`: the number of lines."""
        if self._state is None:
            raise BrokenExport(lines, "the export ends without a chat")
        answers = self._state.answers
        for answer, number in self._first_line_of.items():
            if answer not in answers:
                raise BrokenExport(number, f"the answer {answer} was never requested")
        whole = {
            answer: events
            for answer, events in self._events.items()
            if is_whole(events, ended=answers[answer].ended is not None)
        }
        left_out = [answer for answer in self._events if answer not in whole]
        return Export(self._state.id, self._facts, whole, left_out)
