"""Writes the events of one answer: in order, fenced, with one publish in flight, and kept in memory."""

from shared.domain import subjects
from shared.domain.answer import AnswerState
from shared.domain.errors import ChatGone, SequenceConflict, TailLost
from shared.domain.events import AnswerEvent
from shared.domain.subjects import AnswerId, Sequence
from shared.log.answer_journal import AnswerJournal
from shared.log.append import append_answer_event
from shared.log.protocol import Log
from shared.logging import logger

log = logger(__name__)

_TAIL_RETRIES_MAX = 5


class AnswerWriter(AnswerJournal):
    """Writes the answer of the one worker that has it, and restores events that the broker lost.

    The worker's `Generation` owns it.
    """

    def __init__(self, log_: Log, answer: AnswerId, patience_seconds: float) -> None:
        super().__init__(log_, answer, patience_seconds, wait_for_room=True)
        self._events: list[tuple[AnswerEvent, Sequence]] = []
        self._loaded = False
        self.doubtful = False
        """True after the log was away: the event of another writer may have the sequence of a lost one of ours."""

    async def load_once(self) -> None:
        """Loads the events unless that was done. The fence detects events that were appended since."""
        if not self._loaded:
            await self.load()
            self._loaded = True

    def assume_empty(self) -> None:
        """Assumes that the answer has no events, without a read: the first append fails if it has some."""
        self._loaded = True

    def assume_nothing(self) -> None:
        """Takes `assume_empty` back: `load_once` reads again."""
        self._loaded = False

    async def append(self, event: AnswerEvent) -> None:
        """Appends the event, and first the events that the broker lost.

        Raises `SequenceConflict` when another worker has the answer, and `ChatGone` when its chat was deleted: stop.
        """
        for _ in range(_TAIL_RETRIES_MAX):
            try:
                sequence = await append_answer_event(
                    self._log, self._answer, event, self.state.sequence, self._patience_seconds, self._check
                )
            except TailLost as lost:
                # A deleted chat's tokens are gone on purpose: to append them again would bring it back.
                if await self._log.last(subjects.fact(subjects.chat_of(self._answer), "chat-deleted")):
                    raise ChatGone(self._answer) from lost
                await self._restore(lost)
                continue
            self._record(event, sequence)
            return
        raise TailLost(subjects.answer(self._answer), self.state.sequence, 0)

    async def _check(self) -> None:
        """Verifies, after an outage, that our last event is still stored: the fence compares sequences only."""
        if self.doubtful and self._events:
            event, sequence = self._events[-1]
            subject = subjects.answer(self._answer)
            found = await self._log.next(subject, sequence)
            if found and (found.sequence, found.event) != (sequence, event):
                raise SequenceConflict(subject, sequence)
        self.doubtful = False

    def _record(self, event: AnswerEvent, sequence: Sequence) -> None:
        self._events.append((event, sequence))
        super()._record(event, sequence)

    async def _restore(self, lost: TailLost) -> None:
        """Appends again, in order and with the same indexes, the acknowledged events that the broker lost."""
        log.warning("tail-lost", answer=self._answer, expected=lost.expected, last=lost.last)
        known = self._events
        kept = [(event, sequence) for event, sequence in known if sequence <= lost.last]
        if (kept and kept[-1][1] != lost.last) or (not kept and lost.last):
            raise lost  # The event of another writer is last: this tail is not ours.
        self._events, self.state = [], AnswerState()
        for event, sequence in kept:
            self._record(event, sequence)
        for event, _ in known[len(kept) :]:
            await super().append(event)
