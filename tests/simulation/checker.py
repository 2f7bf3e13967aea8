"""Checks the invariants whenever a message is stored, a request leaves the queue, or an event reaches a client.

The checker reads the broker's state directly, which no simulated process can.
"""

from collections.abc import Callable, Iterable

from services.api.read_model.queries import _state as state_of_rows
from shared.domain import subjects
from shared.domain.answer import AnswerState, end_fact, evolve
from shared.domain.chat import ChatState
from shared.domain.chat import evolve as evolve_chat
from shared.domain.events import (
    AnswerCompleted,
    AnswerEnded,
    AnswerEvent,
    AnswerRequest,
    AnswerRequested,
    CancelRequested,
    ChatDeleted,
    Fact,
    GenerationEnded,
    GenerationStarted,
    MessageRequested,
    TokenEmitted,
)
from shared.domain.subjects import AnswerId, ChatId, Sequence
from shared.log.recorded import Recorded, answer_event_of
from tests.simulation import provider
from tests.simulation.broker import Broker
from tests.simulation.loop import Process
from tests.simulation.tables import Tables
from tests.simulation.trace import Trace

CALLS_MAX = 60
"""Limit of provider calls for one answer, far above the number of attempts and interruptions."""


class Answer:
    """The log's current events of one answer, and all events that it ever had."""

    def __init__(self, id_: AnswerId) -> None:
        self.id = id_
        self.state = AnswerState()
        self.request: AnswerRequest | None = None
        self.requested = Sequence(0)
        self.owner: Process | None = None
        self.ended_by: Process | None = None
        self.fact: AnswerEnded | None = None
        self.ever_ended: set[str] = set()
        self.cancelled_at: float | None = None
        self.texts: dict[tuple[int, int], set[str]] = {(0, 0): {""}}
        self.delivered: dict[Process, float] = {}
        self.asked: set[Process] = set()
        self.calls = 0
        self.accepted = False
        self.said: list[TokenEmitted] = []
        self.begun: dict[int, Process] = {}
        self.begun_twice: set[int] = set()
        """Attempts whose beginning was lost with a worker that then died: another has begun under the same number.

        A cursor cannot tell them apart. It is the one thing that a power cut may make a reader show wrongly.
        """


class Checker:
    def __init__(self, broker: Broker, fail: Callable[[str], None], attempts_max: int, trace: Trace) -> None:
        self._broker = broker
        self._fail = fail
        self._trace = trace
        self._attempts_max = attempts_max
        self.answers: dict[AnswerId, Answer] = {}
        self.chats: dict[ChatId, ChatState] = {}
        self.by_local: dict[str, AnswerId] = {}
        self.purge_acknowledged: set[ChatId] = set()
        self.holds: Callable[[Process, AnswerId], bool] = lambda _process, _answer: False
        """Returns True if a live worker is generating the answer."""
        self.tail_lost = False
        self.late: dict[Sequence, Process] = {}
        """Token events that came in after their chat was deleted, and who wrote them."""
        self.gave_up: set[Process] = set()
        """Workers whose patience with the log ran out: what they let go looks like a crash."""

    def require(self, condition: object, promise: str) -> None:
        if not condition:
            self._fail(promise)

    def note(self, what: str) -> None:
        self._trace.add("client", what)

    def answer(self, id_: AnswerId) -> Answer:
        return self.answers.setdefault(id_, Answer(id_))

    def chat(self, id_: ChatId) -> ChatState:
        return self.chats.setdefault(id_, ChatState(id_))

    # --- what gets into the log ------------------------------------------------------------------------

    def stored(self, stored: Recorded, by: Process) -> None:
        self._trace.add(by, f"stores {stored.subject} {stored.sequence} {stored.data.decode()}")
        if stored.answer is not None:
            self._token_event(self.answer(stored.answer), answer_event_of(stored), stored.sequence, by)
        else:
            self._facts([stored])

    def _token_event(self, answer: Answer, event: AnswerEvent, sequence: Sequence, by: Process) -> None:
        if self.chat(subjects.chat_of(answer.id)).deleted:  # it may still come in; at the end it must be gone
            self.late[sequence] = by
            brought_back = isinstance(event, TokenEmitted) and event in answer.said
            self.require(not brought_back, f"{answer.id}: of a deleted chat, {event} is brought back")
            return
        state = answer.state
        self.require(state.ended is None, f"{answer.id}: {event} after its end")
        match event:
            case GenerationStarted():
                self._started(answer, event, by)
            case GenerationEnded():
                self.require(event.attempt == state.attempt, f"{answer.id}: the end of another attempt")
                self.require(event.last_index == state.last_index, f"{answer.id}: an end that skips tokens")
                answer.ended_by = by
            case _:
                self.require(event.attempt == state.attempt, f"{answer.id}: {event} of a fenced attempt")
                twice = event.attempt in answer.begun_twice  # the same token of both is taken for one's own
                self.require(
                    by is answer.owner or twice, f"{answer.id}: {by} writes in {answer.owner}'s attempt"
                )
        if isinstance(event, TokenEmitted):
            self.require(event.index == state.last_index + 1, f"{answer.id}: index {event.index} is not next")
            answer.said.append(event)
        evolve(state, event, sequence)
        self._remember(answer)

    def _remember(self, answer: Answer) -> None:
        state = answer.state
        answer.texts.setdefault((state.attempt, state.last_index), set()).add(state.whole_text)

    def _started(self, answer: Answer, event: GenerationStarted, by: Process) -> None:
        state = answer.state
        self.require(event.attempt == state.attempt + 1, f"{answer.id}: attempt {event.attempt} is not next")
        self.require(event.crashes < self._attempts_max, f"{answer.id}: too many attempts")
        before = answer.owner
        if before is not None and before is not by and state.under_way and by not in answer.asked:
            self.require(
                not self.holds(before, answer.id),
                f"{answer.id}: {by} took over from {before}, which was at work on it, without asking",
            )
        let_go = self.tail_lost and answer.ever_ended  # as done, and then the end was lost
        alive = before is by and by not in self.gave_up and not let_go
        counted = event.crashes > state.crashes
        self.require(
            not (counted and alive), f"{answer.id}: {by} lives, and counts its own attempt as a crash"
        )
        answer.owner = by
        if answer.begun.setdefault(event.attempt, by) is not by:
            answer.begun_twice.add(event.attempt)

    def _fact(self, fact: Fact, sequence: Sequence) -> None:
        chat = self.chat(fact.chat)
        self.require(not chat.deleted, f"{fact.chat}: {type(fact).__name__} after the tombstone")
        match fact:
            case MessageRequested() | AnswerRequested():
                self._requested(chat, fact, sequence)
            case AnswerEnded():
                self._ended(chat, fact)
            case CancelRequested():
                answer = self.answer(fact.answer)
                answer.cancelled_at = self._broker.loop.time()
            case _:
                pass
        evolve_chat(chat, fact, sequence)

    def _requested(self, chat: ChatState, fact: AnswerRequest, sequence: Sequence) -> None:
        self.require(fact.answer not in chat.answers, f"{fact.answer} is asked for twice")
        if isinstance(fact, MessageRequested):
            self.require(fact.message not in chat.messages, f"{fact.message} is there twice")
            parent = chat.answers.get(fact.parent) if fact.parent else None
            self.require(
                parent is None or parent.ended, f"{fact.message} replies to an answer without its end"
            )
        answer = self.answer(fact.answer)
        answer.request, answer.requested = fact, sequence

    def _ended(self, chat: ChatState, fact: AnswerEnded) -> None:
        answer = self.answer(fact.answer)
        node = chat.answers.get(fact.answer)
        self.require(node is not None and node.ended is None, f"{fact.answer} ends a second time")
        answer.fact = fact
        answer.ever_ended.add(fact.text)
        if answer.request is None:
            return
        if answer.state.ended is None:  # its worker knows by heart what a log that lost its tail does not
            self.require(self.tail_lost, f"{fact.answer}: a fact before the end that decides it")
        else:
            expected = end_fact(answer.request, answer.state, answer.state.ended)
            self.require(fact == expected, f"{fact.answer}: the fact is not what its events say")
        if isinstance(fact, AnswerCompleted):
            whole = "".join(provider.tokens(answer.request.model.partition("/")[2]))
            self.require(fact.text == whole, f"{fact.answer}: {fact.text!r} is not what the provider said")

    def begin_again(self) -> None:
        """Adopts the log's state after it lost its tail. Records of what clients were shown remain."""
        self.tail_lost = True
        chats, tokens = (
            self._broker.streams[name].messages.values() for name in (subjects.CHATS, subjects.TOKENS)
        )
        self.chats = {}
        for answer in self.answers.values():
            answer.state, answer.request, answer.fact = AnswerState(), None, None
            answer.ended_by = answer.cancelled_at = None
        for stored in tokens:
            assert stored.answer is not None
            evolve(self.answer(stored.answer).state, answer_event_of(stored), stored.sequence)
        self._facts(chats)

    def _facts(self, found: Iterable[Recorded]) -> None:
        for one in found:
            assert isinstance(one.event, Fact)
            self._fact(one.event, one.sequence)

    def purged(self, subject: str) -> None:
        _, chat, answer = subjects.parse(subject)
        deleted = self.chat(chat).deleted
        self.require(self.tail_lost or deleted, f"{subject} is purged, and its chat lives")
        if not deleted and answer is not None:  # nobody asks for it any more: the log lost the question
            self.answer(answer).state = AnswerState()

    # --- the queue, the workers and the provider ----------------------------------------------------------

    def delivered(self, stored: Recorded, to: Process) -> None:
        fact = stored.event
        self._trace.add(to, f"is given {stored.sequence}")
        if isinstance(fact, MessageRequested | AnswerRequested):
            self.answer(fact.answer).delivered.setdefault(to, self._broker.loop.time())

    def asked_in_vain(self, answer: str, by: Process) -> None:
        self.answer(AnswerId(answer)).asked.add(by)

    def acked(self, sequence: Sequence, by: Process) -> None:
        self._trace.add(by, f"acknowledges {sequence}")
        stored = self._broker.streams[subjects.CHATS].messages.get(sequence)
        if stored is None:
            return
        fact = stored.event
        if isinstance(fact, MessageRequested | AnswerRequested) and not self.chat(fact.chat).deleted:
            answer = self.answer(fact.answer)
            ended = answer.fact or (
                self.tail_lost and answer.ever_ended
            )  # it was on its way when the end was lost
            self.require(ended, f"{fact.answer}: {by} acknowledged it before its end")

    def called(self, by: Process, model: str, prefill: str) -> None:
        answer = self.answer(self.by_local[model.partition("-")[2]])
        answer.calls += 1
        self._trace.add(by, f"calls the provider for {answer.id} after {prefill!r}")
        self.require(answer.calls <= CALLS_MAX, f"{answer.id}: the provider is called again and again")
        self.require(answer.ended_by is not by, f"{answer.id}: the provider is called after the end")
        whole = "".join(provider.tokens(model))
        self.require(whole.startswith(prefill), f"{answer.id}: the provider is to go on with {prefill!r}")
        if answer.cancelled_at is not None:
            first = answer.delivered.get(by, 0.0)
            self.require(
                first <= answer.cancelled_at, f"{answer.id}: {by} calls the provider for what is cancelled"
            )

    # --- the end of a run -----------------------------------------------------------------------------------

    def settled(self) -> str:
        """Returns what is still in progress; empty if nothing is."""
        for answer in self.answers.values():
            if answer.request is None or self.chat(answer.request.chat).deleted:
                continue
            if answer.fact is None:
                return f"{answer.id} has no end"
        return ""

    def at_the_end(self, tables: Tables) -> None:
        for answer in self.answers.values():
            if answer.accepted and not self.tail_lost:
                self.require(answer.request, f"{answer.id}: was acknowledged, and is nowhere")
        for chat in self.chats.values():
            if chat.deleted and chat.id in self.purge_acknowledged:
                self._is_gone(chat.id)
            self._rows_say_the_same(chat, tables)

    def _is_gone(self, chat: ChatId) -> None:
        facts = self._broker.streams[subjects.CHATS].on(subjects.facts(chat))
        kept = [one.event for one in facts]
        self.require(
            len(kept) == 1 and isinstance(kept[0], ChatDeleted), f"{chat}: of a deleted chat there is {kept}"
        )
        # What a worker wrote after the purge it purges itself. If it died meanwhile, only the stream's `max_age` does;
        # and so with a first event, without any text, that was late on its way and expects an empty subject.
        tokens = [
            one
            for one in self._broker.streams[subjects.TOKENS].on(subjects.answers(chat))
            if not self._could_not_purge(self.late.get(one.sequence))
            and not isinstance(one.event, GenerationStarted)
        ]
        self.require(not tokens, f"{chat}: a deleted chat has tokens: {tokens}")

    def _could_not_purge(self, writer: Process | None) -> bool:
        return writer is not None and (not writer.alive or writer in self.gave_up)

    def _rows_say_the_same(self, chat: ChatState, tables: Tables) -> None:
        rows = tables.fetch("chat", (chat.id,))
        if not chat.exists:
            self.require(not rows, f"{chat.id}: the read model has a chat that is not there")
            return
        self.require(rows, f"{chat.id}: the read model does not know it")
        if not rows:
            return
        model = state_of_rows(rows[0], tables.fetch("nodes", (chat.id,)))
        self.require(model == chat, f"{chat.id}: the read model says {model}, the log {chat}")
        for id_ in chat.answers:
            fact = self.answers[id_].fact
            row = tables.messages[id_]
            self.require(fact and row["text"] == fact.text, f"{id_}: the read model has {row}")
