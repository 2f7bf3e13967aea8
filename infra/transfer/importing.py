"""`unspool import`: appends an exported chat to this log.

Invariant: the end of an imported answer has one writer. Requests are marked `imported`, and generators skip such
requests, so this process writes the end. If it dies, the orphan reaper ends the open answers; the reaper first asks
on `subjects.importer` whether an import is running. If both write, the expected sequence of each append detects it,
and the import stops.
"""

import sys
from collections.abc import Iterable
from uuid import uuid4

from infra.log_command import run_command
from infra.transfer.exported import Export, read_export
from infra.transfer.rewriting import Rewriter
from services.api.read_model.orphans import IMPORTED
from shared.domain import subjects
from shared.domain.errors import IdConflict, LogFull, LogUnavailable, SequenceConflict, TailLost, UnspoolError
from shared.domain.events import (
    AnswerEnded,
    AnswerRequest,
    AnswerRequested,
    Fact,
    MessageRequested,
)
from shared.domain.subjects import AnswerId, ChatId, Sequence
from shared.log.answer_journal import AnswerJournal
from shared.log.append import append_fact
from shared.log.event_log import EventLog
from shared.log.protocol import Log
from shared.settings import Settings

_WORKER = "import"


class ImportStopped(UnspoolError):
    """The import stopped before its end. The log holds a valid chat, which lacks the remaining facts."""

    def __init__(self, chat: ChatId, facts: int, of: int, error: Exception) -> None:
        super().__init__(
            f"the import stopped after {facts} of {of} facts: {error}. The chat {chat} is incomplete: "
            "delete it, then import again with --new-id"
        )


def main(settings: Settings, lines: Iterable[bytes], *, new_id: bool) -> int:
    """Imports the lines and returns the exit status.

    Raises `BrokenExport` or `IdConflict` before it appends anything, `ImportStopped` afterwards.
    """
    exported = read_export(lines)
    chat = ChatId(str(uuid4())) if new_id else exported.chat
    for answer in exported.left_out:
        print(f"unspool import: {answer}: skipped its token events, which are incomplete", file=sys.stderr)
    run_command("import", settings, lambda settings: _import(settings, exported, chat))
    answers = f"{len(exported.tokens)} answers with their token events"
    print(
        f"imported: chat {chat}, {len(exported.facts)} facts, {answers}. Their times are those of the import."
    )
    return 0


async def _import(settings: Settings, exported: Export, chat: ChatId) -> None:
    async with EventLog.open(settings, "unspool-import") as log:
        if await log.last(subjects.facts(chat)) is not None:
            raise IdConflict(
                f"The chat {chat} exists or existed here. Use --new-id to import it as another chat."
            )
        await log.listen(subjects.importer(chat), lambda _question: "yes")
        await Import(log, settings, exported, chat).run()


class Import:
    """Appends one export. Call `run` once; the chat must not exist. `_import` owns it and its log."""

    def __init__(self, log: Log, settings: Settings, exported: Export, chat: ChatId) -> None:
        self._log = log
        self._patience_seconds = settings.api_append_patience_seconds
        self._exported = exported
        self._chat = chat
        self._rewriter = Rewriter(exported.chat, chat, settings.owner)
        self._open: dict[AnswerId, tuple[AnswerRequest, Sequence]] = {}
        """Answers without an end, by their exported ids: their rewritten requests and sequences."""
        self._newest = Sequence(0)
        self._done = 0

    async def run(self) -> None:
        """Appends all facts in order, each end of an answer after its tokens. Raises `ImportStopped`."""
        try:
            for exported_fact in self._exported.facts:
                await self._import_fact(exported_fact.sequence, exported_fact.fact)
                self._done += 1
            for answer in list(self._open):
                await self._write_end(answer)
        except (SequenceConflict, TailLost) as error:
            await self._purge_if_deleted()
            raise ImportStopped(self._chat, self._done, len(self._exported.facts), error) from error
        except (LogUnavailable, LogFull) as error:
            raise ImportStopped(self._chat, self._done, len(self._exported.facts), error) from error

    async def _import_fact(self, old: Sequence, exported_fact: Fact) -> None:
        fact = self._rewriter.rewrite_fact(exported_fact)
        if isinstance(exported_fact, AnswerEnded):
            # Like a worker: first the end on the answer's subject, then the fact.
            request, sequence = self._open.pop(exported_fact.answer)
            await self._import_tokens(exported_fact.answer, request.answer, sequence)
        self._newest = await append_fact(self._log, fact, self._newest, self._patience_seconds)
        self._rewriter.record(old, self._newest)
        if isinstance(exported_fact, MessageRequested | AnswerRequested):
            assert isinstance(fact, MessageRequested | AnswerRequested)  # noqa: S101 - the same fact, rewritten
            self._open[exported_fact.answer] = fact, self._newest

    async def _import_tokens(self, old: AnswerId, answer: AnswerId, request: Sequence) -> AnswerJournal:
        journal = AnswerJournal(self._log, answer, self._patience_seconds)
        for event in self._exported.tokens.get(old, ()):
            await journal.append(self._rewriter.rewrite_event(event, request))
        return journal

    async def _write_end(self, old: AnswerId) -> None:
        """Ends an answer that had no end in the export: by its tokens if they hold an end, else as failed."""
        request, sequence = self._open.pop(old)
        journal = await self._import_tokens(old, request.answer, sequence)
        await journal.end_without_provider(
            request, sequence, worker=_WORKER, outcome="failed", error=IMPORTED
        )
        self._newest = await journal.append_end_fact(request, self._newest)

    async def _purge_if_deleted(self) -> None:
        """Purges token events that this import appended after the chat was deleted and purged."""
        if await self._log.last(subjects.fact(self._chat, "chat-deleted")) is not None:
            await self._log.purge(subjects.answers(self._chat))
