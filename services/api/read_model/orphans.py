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
from shared.domain.answer import Asked
from shared.domain.errors import LogUnavailable, SequenceConflict, TailLost
from shared.domain.events import ChatDeleted, Problem
from shared.domain.subjects import AnswerId, ChatId, MessageId, Sequence
from shared.log.answer_journal import AnswerJournal
from shared.log.protocol import Log
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

    def __init__(self, log_: Log, reads: Reads, projector: Projector, settings: Settings) -> None:
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
        settled = await self._log.ack_floor(subjects.GENERATORS)
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
        problem = IMPORTED if row["imported"] else _LOST
        try:
            await self._write_end(asked, Sequence(row["sequence"]), problem)
        except (SequenceConflict, TailLost):
            return  # Another writer is at work, or the chat moved on: the next round reads it again.

    async def _write_end(self, asked: Asked, request: Sequence, problem: Problem) -> None:
        journal = AnswerJournal(self._log, asked.answer, self._settings.api_append_patience_seconds)
        await journal.load()
        await journal.end_without_provider(asked, request, worker=_WORKER, outcome="failed", error=problem)
        newest = await self._log.last(subjects.facts(asked.chat))
        if newest is None or isinstance(newest.event, ChatDeleted):
            return
        await journal.append_end_fact(asked, newest.sequence)
        metrics.ORPHANS.inc()

    async def _is_being_imported(self, chat: ChatId) -> bool:
        """Who is silent may be at work: then the next round asks again. If we are wrong, the importer is fenced."""
        try:
            timeout_seconds = self._settings.question_timeout_seconds
            return await self._log.ask(subjects.importer(chat), "", timeout_seconds) is not None
        except LogUnavailable:
            return True
