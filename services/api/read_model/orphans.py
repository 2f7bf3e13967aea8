"""Answers that nobody will make: their request is settled or gone from the queue, and yet they have no end.

The law of this file: no clock decides. A worker writes the end before it acknowledges; so what the queue says
is settled, and the facts up to the log's end *after that* do not end, is an orphan, however long or short ago.
"""

import asyncio

import asyncpg

from services.api import metrics
from services.api.read_model.projector import Projector
from services.api.read_model.queries import ReadModelUnavailable, Reads
from shared.domain import subjects
from shared.domain.answer import AnswerState, Asked, abandoned, end_fact, evolve, fold
from shared.domain.errors import LogUnavailable, SequenceConflict, TailLost
from shared.domain.events import AnswerEvent, Problem, decode_answer_event
from shared.domain.subjects import AnswerId, ChatId, MessageId, Sequence
from shared.log.append import append_answer_event, append_fact
from shared.log.event_log import EventLog
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

_WORKER = "orphanage"
_LOST = Problem(
    code="request-lost",
    title="The answer could not be made.",
    detail="Its request is no longer in the queue: a limit or an operator removed it. Ask again with regenerate.",
    status=500,
)
IMPORTED = Problem(
    code="imported",
    title="The answer was not made here.",
    detail="It had no end where it was exported, and an imported request is not generated again.",
)


class Orphans:
    """Runs beside the projector, and only where it is the active one."""

    def __init__(self, log_: EventLog, reads: Reads, projector: Projector, settings: Settings) -> None:
        self._log = log_
        self._reads = reads
        self._projector = projector
        self._settings = settings

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._settings.orphan_check_seconds)
            if self._projector.state != "active":
                continue
            try:
                await self.end_all()
            except (LogUnavailable, ReadModelUnavailable) as error:
                log.warning("orphans-wait", reason=str(error))

    async def end_all(self) -> int:
        """How many were ended now."""
        settled = await self._log.settled_up_to(subjects.GENERATORS)
        last = (await self._log.position(subjects.CHATS)).last
        if self._projector.position < last:  # ends may be missing in the rows: the next round sees them
            return 0
        rows = await self._reads.rows("orphans", settled, self._settings.orphans_max)
        for row in rows:
            await self._end(row)
        return len(rows)

    async def _end(self, row: asyncpg.Record) -> None:
        asked = Asked(
            chat=ChatId(row["chat"]),
            owner=row["owner"],
            message=MessageId(row["parent"]),
            answer=AnswerId(row["id"]),
            model=row["model"],
        )
        if row["imported"] and await self._is_being_imported(asked.chat):
            return
        log.warning("orphan", chat=asked.chat, answer=asked.answer, sequence=row["sequence"])
        try:
            problem = IMPORTED if row["imported"] else _LOST
            state = await self._ended(asked, Sequence(row["sequence"]), problem)
            newest = await self._log.last(subjects.facts(asked.chat))
            if newest is None or newest.subject.endswith(".chat-deleted") or state.ended is None:
                return
            fact = end_fact(asked, state, state.ended)
            await append_fact(self._log, fact, newest.sequence, self._settings.api_append_patience_seconds)
            metrics.ORPHANS.inc()
        except (SequenceConflict, TailLost):
            return  # somebody is at work there after all, or the chat moved on: the next round sees it

    async def _is_being_imported(self, chat: ChatId) -> bool:
        """Who is silent may be at work: then the next round asks again. If we are wrong, the importer is fenced."""
        try:
            timeout_seconds = self._settings.question_timeout_seconds
            return await self._log.ask(subjects.importer(chat), "", timeout_seconds) is not None
        except LogUnavailable:
            return True

    async def _ended(self, asked: Asked, request: Sequence, problem: Problem) -> AnswerState:
        """The answer's state with an end: its own, if it has one."""
        stored = await self._log.read(subjects.answer(asked.answer), Sequence(0))
        events: list[tuple[AnswerEvent, Sequence]] = [
            (decode_answer_event(s.data), s.sequence) for s in stored
        ]
        state = fold(events)
        missing = abandoned(state, request=request, model=asked.model, worker=_WORKER, problem=problem)
        for event in missing:
            patience = self._settings.api_append_patience_seconds
            sequence = await append_answer_event(self._log, asked.answer, event, state.sequence, patience)
            evolve(state, event, sequence)
        return state
