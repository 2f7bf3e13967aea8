"""Intentionally broken variants of the services, which the simulation must detect."""

from collections.abc import Callable
from typing import Any

import pytest

from services.api.read_model import projector
from services.api.read_model.checkpoint import Checkpoint, mark_of
from services.api.read_model.projections import project
from services.api.read_model.projector import _known
from services.api.read_model.statements import statements
from services.api.streaming.hot_log import HotAnswer
from services.api.streaming.sse import Cursor
from services.generator.generation import Generation
from services.generator.worker import Worker
from services.generator.writer import AnswerWriter
from shared.domain import subjects
from shared.domain.answer import end_fact
from shared.domain.errors import SequenceConflict, TailLost
from shared.domain.events import AnswerEvent, GenerationEnded
from shared.domain.subjects import Sequence
from shared.log import append
from shared.log.append import append_answer_event
from shared.log.protocol import Delivery
from shared.log.recorded import Recorded
from tests.simulation.broker import Broker
from tests.support import examples

Break = Callable[[pytest.MonkeyPatch], None]


def without_fencing(patch: pytest.MonkeyPatch) -> None:
    """Publishes tokens without their expected sequence."""
    real = Broker.publish

    def publish(self: Broker, by: Any, subject: str, data: bytes, expected: Sequence, *rest: Any) -> Sequence:
        stream = subjects.stream_of(subject)
        if stream == subjects.TOKENS:
            newest = self.streams[stream].last(subject)
            expected = newest.sequence if newest else Sequence(0)
        return real(self, by, subject, data, expected, *rest)

    patch.setattr(Broker, "publish", publish)


def acknowledgement_before_the_end(patch: pytest.MonkeyPatch) -> None:
    real = Worker._make

    async def make(self: Worker, generation: Generation, delivery: Delivery) -> None:
        await delivery.ack()
        await real(self, generation, delivery)

    patch.setattr(Worker, "_make", make)


def retry_without_is_it_mine(patch: pytest.MonkeyPatch) -> None:
    async def ours(_log: Any, scope: str, _data: bytes, expected: Sequence) -> Sequence:
        raise SequenceConflict(scope, expected)

    patch.setattr(append, "_ours", ours)


def checkpoint_outside_the_transaction(patch: pytest.MonkeyPatch) -> None:
    async def fold_batch(
        connection: Any, schema: str, checkpoint: Checkpoint, batch: list[Recorded]
    ) -> Checkpoint:
        known, _ = _known(batch)
        named, reached = statements(schema), batch[-1].sequence
        mark = mark_of(batch[-1])
        await connection.execute(named["advance"], checkpoint.position, reached, checkpoint.created, mark)
        async with connection.transaction():
            for name, rows in project((fact, stored.sequence, stored.time) for stored, fact in known):
                await connection.executemany(named[name], rows)
        return Checkpoint(reached, checkpoint.created, checkpoint.version, mark)

    patch.setattr(projector, "fold_batch", fold_batch)


def resume_off_by_one(patch: pytest.MonkeyPatch) -> None:
    real = HotAnswer.position_after

    def position_after(self: HotAnswer, cursor: Cursor) -> int | None:
        found = real(self, cursor)
        return None if found is None else found - 1

    patch.setattr(HotAnswer, "position_after", position_after)


def takeover_without_the_question(patch: pytest.MonkeyPatch) -> None:
    async def nobody(_self: Worker, _generation: Generation) -> bool:
        return False

    patch.setattr(Worker, "_somebody_has_it", nobody)


def question_at_redeliveries_only(patch: pytest.MonkeyPatch) -> None:
    """Restores an old bug: a worker that slept through a first delivery took over from a living one."""
    real = Worker._somebody_has_it

    async def somebody_has_it(self: Worker, generation: Generation) -> bool:
        first = self._running[generation.request.answer][1].delivered == 1
        return False if first else await real(self, generation)

    patch.setattr(Worker, "_somebody_has_it", somebody_has_it)


def done_before_the_fact(patch: pytest.MonkeyPatch) -> None:
    """Treats the end on the answer's subject as the fact of the end."""
    real = HotAnswer.add

    def add(self: HotAnswer, event: AnswerEvent, sequence: Sequence) -> bool:
        whole = real(self, event, sequence)
        if whole and isinstance(event, GenerationEnded):
            self.end = end_fact(examples.message_requested(), self.state(), event), sequence
            self.finish()
        return whole

    patch.setattr(HotAnswer, "add", add)


def deleted_chat_brought_back(patch: pytest.MonkeyPatch) -> None:
    """Treats the purge of a deleted chat's tokens as a lost tail, and restores them."""

    async def append_event(self: AnswerWriter, event: AnswerEvent) -> None:
        while True:
            try:
                sequence = await append_answer_event(
                    self._log, self._answer, event, self.state.sequence, self._patience_seconds
                )
            except TailLost as lost:
                await self._restore(lost)
                continue
            self._record(event, sequence)
            return

    patch.setattr(AnswerWriter, "append", append_event)


MUTANTS: tuple[Break, ...] = (
    without_fencing,
    acknowledgement_before_the_end,
    retry_without_is_it_mine,
    checkpoint_outside_the_transaction,
    resume_off_by_one,
    takeover_without_the_question,
    question_at_redeliveries_only,
    done_before_the_fact,
    deleted_chat_brought_back,
)
