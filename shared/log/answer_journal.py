"""Writes one answer to the log, and its end: the only place that appends `GenerationEnded` and the fact of an end.

The order makes a crash at any line harmless. `GenerationEnded` on the answer's subject decides the outcome. The fact on
the chat's subject repeats it, and any writer that finds the first without the second appends the same bytes.
"""

from shared.domain import subjects
from shared.domain.answer import AnswerState, Asked, end_fact, evolve
from shared.domain.events import (
    AnswerEvent,
    AnswerRequest,
    GenerationEnded,
    GenerationStarted,
    Outcome,
    Problem,
    Usage,
)
from shared.domain.subjects import AnswerId, Attempt, Sequence
from shared.log.append import append_answer_event, append_fact
from shared.log.protocol import AppendLog
from shared.log.recorded import answer_events_of

_FINISH_REASONS: dict[Outcome, str] = {"completed": "", "failed": "error", "cancelled": "cancelled"}
"""Finish reasons of ends for which no provider gave one."""


class AnswerJournal:
    """Appends one answer's events, fenced by the sequence of the last one, and its end. Its writer owns it.

    `state` is the fold of the events that this journal loaded or appended.
    """

    def __init__(
        self, log: AppendLog, answer: AnswerId, patience_seconds: float, *, wait_for_room: bool = False
    ) -> None:
        self._log = log
        self._answer = answer
        self._patience_seconds = patience_seconds
        self._wait_for_room = wait_for_room
        self.state = AnswerState()

    async def load(self) -> None:
        """Reads the events that other writers appended. Raises `LogUnavailable` and `UndecodableEvent`."""
        found = await self._log.read(subjects.answer(self._answer), self.state.sequence)
        for event, sequence in answer_events_of(found):
            self._record(event, sequence)

    async def append(self, event: AnswerEvent) -> None:
        """Appends after the last event. Raises `SequenceConflict` if another writer has the answer, and `TailLost`."""
        sequence = await append_answer_event(
            self._log, self._answer, event, self.state.sequence, self._patience_seconds
        )
        self._record(event, sequence)

    async def append_end(
        self, outcome: Outcome, *, usage: Usage, finish_reason: str = "", error: Problem | None = None
    ) -> None:
        """Decides the outcome of the current attempt. Raises as `append`."""
        ended = GenerationEnded(
            attempt=self.state.attempt,
            outcome=outcome,
            last_index=self.state.last_index,
            finish_reason=finish_reason or _FINISH_REASONS[outcome],
            usage=usage,
            error=error,
        )
        await self.append(ended)

    async def end_without_provider(
        self,
        request: AnswerRequest | Asked,
        sequence: Sequence,
        *,
        worker: str,
        outcome: Outcome,
        error: Problem | None = None,
    ) -> None:
        """Appends what the answer lacks to be ended: nothing if it has its end. Raises as `append`."""
        if self.state.ended is not None:
            return
        if not self.state.attempt:  # An end belongs to an attempt, and that attempt to this writer.
            await self.append(
                GenerationStarted(attempt=Attempt(1), worker=worker, model=request.model, request=sequence)
            )
        await self.append_end(outcome, usage=self.state.usage, error=error)

    async def append_end_fact(self, request: AnswerRequest | Asked, expected: Sequence) -> Sequence:
        """Appends the fact of the decided end to the chat, if `expected` is the chat's newest sequence.

        Raises `SequenceConflict`, `TailLost` and `LogUnavailable` as `append_fact` does.
        """
        assert self.state.ended is not None  # noqa: S101 - the outcome is decided before its fact is written
        fact = end_fact(request, self.state, self.state.ended)
        return await append_fact(
            self._log, fact, expected, self._patience_seconds, wait_for_room=self._wait_for_room
        )

    def _record(self, event: AnswerEvent, sequence: Sequence) -> None:
        evolve(self.state, event, sequence)
