"""Ends orphans: answers without an end whose request is acknowledged or lost.

No clock decides. A worker writes the end before it acknowledges. So an answer whose request is below the ack floor, and
that has no end up to the log's end read *after* the ack floor, is an orphan, regardless of its age.
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
    title="The answer could not be generated.",
    detail="Its request was removed from the queue by a limit or an operator. Use regenerate to request it again.",
    status=500,
)
IMPORTED = Problem(
    code="imported",
    title="The imported answer has no end.",
    detail="It had not ended when it was exported, and imported requests are not generated. Use regenerate.",
)


class Orphans:
    """Ends orphans while this process' projector is active. The app owns and runs it."""

    def __init__(self, log_: Log, reads: Reads, projector: Projector, settings: Settings) -> None:
        self._log = log_
        self._reads = reads
        self._projector = projector
        self._settings = settings

    async def run(self) -> None:
        """Checks for orphans until it is cancelled."""
        while True:
            await asyncio.sleep(self._settings.orphan_check_seconds)
            if self._projector.state != "active":
                continue
            try:
                await self.end_all()
            except (LogUnavailable, ReadModelUnavailable) as error:
                log.warning("orphans-wait", reason=str(error))

    async def end_all(self) -> int:
        """Ends all current orphans and returns their number."""
        settled = await self._log.ack_floor(subjects.GENERATORS)
        last = (await self._log.position(subjects.CHATS)).last
        if self._projector.position < last:  # The rows may lack ends: check again in the next round.
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
        """Returns True if an import responds or the log is unavailable. A wrong result is safe: appends are fenced."""
        try:
            timeout_seconds = self._settings.question_timeout_seconds
            return await self._log.ask(subjects.importer(chat), "", timeout_seconds) is not None
        except LogUnavailable:
            return True
