"""`unspool import`: an exported chat, appended to this log as one that was not made here.

The law of this file: requests are marked `imported`, and generators leave such requests alone, whenever they come to
them. So the end of an imported answer has one writer: this process. Should it die, whoever ends the answers that
nobody makes takes its place; it asks first (`subjects.importer`), and if it is wrong, then each append here is on the
condition that nobody else has written to the chat, and the import stops.
"""

import asyncio
import sys
from collections.abc import Iterable
from uuid import uuid4

from msgspec import structs

from infra.transfer.exported import Exported, read
from infra.transfer.rewriting import Rewriting
from services.api.read_model.orphans import IMPORTED
from shared.domain import subjects
from shared.domain.answer import AnswerState, abandoned, end_fact, evolve
from shared.domain.errors import IdConflict, LogFull, LogUnavailable, SequenceConflict, TailLost, UnspoolError
from shared.domain.events import (
    AnswerEnded,
    AnswerEvent,
    AnswerRequest,
    AnswerRequested,
    Fact,
    MessageRequested,
)
from shared.domain.subjects import AnswerId, ChatId, Sequence
from shared.log.append import append_answer_event, append_fact
from shared.log.event_log import EventLog
from shared.log.protocol import Log
from shared.logging import configure
from shared.settings import Settings

_WORKER = "import"


class ImportStopped(UnspoolError):
    """In the middle. What stands in the log is a chat of its own right, though not the whole one."""

    def __init__(self, chat: ChatId, facts: int, of: int, error: Exception) -> None:
        super().__init__(
            f"the import stopped after {facts} of {of} facts: {error}; the chat {chat} is not whole: "
            "delete it, and import again with --new-id"
        )


def main(settings: Settings, lines: Iterable[bytes], *, new_id: bool) -> int:
    """Raises `BrokenExport` and `IdConflict` before anything is appended; `ImportStopped` after."""
    settings = structs.replace(settings, log_level="error")
    configure(settings, "import")
    exported = read(lines)
    chat = ChatId(str(uuid4())) if new_id else exported.chat
    for answer in exported.left_out:
        print(f"unspool import: {answer}: its token events are not whole, and are left out", file=sys.stderr)
    asyncio.run(_import(settings, exported, chat))
    answers = f"{len(exported.tokens)} answers with their token events"
    print(
        f"imported: chat {chat}, {len(exported.facts)} facts, {answers}. Their times are those of the import."
    )
    return 0


async def _import(settings: Settings, exported: Exported, chat: ChatId) -> None:
    log = await EventLog.connect(settings, "unspool-import")
    try:
        if await log.last(subjects.facts(chat)) is not None:
            raise IdConflict(f"The chat {chat} is there already, or was; --new-id imports it as another.")
        await log.listen(subjects.importer(chat), lambda _question: "yes")
        await Import(log, settings, exported, chat).run()
    finally:
        await log.close()


class Import:
    """`run` once. The chat must not be there."""

    def __init__(self, log: Log, settings: Settings, exported: Exported, chat: ChatId) -> None:
        self._log = log
        self._patience_seconds = settings.api_append_patience_seconds
        self._exported = exported
        self._chat = chat
        self._rewriting = Rewriting(exported.chat, chat, settings.owner)
        self._open: dict[AnswerId, tuple[AnswerRequest, Sequence]] = {}
        """Answers without their end, by the ids that they had: their requests as they stand here."""
        self._newest = Sequence(0)
        self._done = 0

    async def run(self) -> None:
        try:
            for told in self._exported.facts:
                await self._fact(told.sequence, told.fact)
                self._done += 1
            for answer in list(self._open):
                await self._end(answer)
        except (SequenceConflict, TailLost) as error:
            await self._forget_if_deleted()
            raise ImportStopped(self._chat, self._done, len(self._exported.facts), error) from error
        except (LogUnavailable, LogFull) as error:
            raise ImportStopped(self._chat, self._done, len(self._exported.facts), error) from error

    async def _fact(self, old: Sequence, told: Fact) -> None:
        fact = self._rewriting.fact(told)
        if isinstance(told, AnswerEnded):
            # As a worker does: first the end on the answer's own subject, then the fact.
            request, sequence = self._open.pop(told.answer)
            await self._tokens(told.answer, request.answer, sequence)
        self._newest = await append_fact(self._log, fact, self._newest, self._patience_seconds)
        self._rewriting.stored(old, self._newest)
        if isinstance(told, MessageRequested | AnswerRequested):
            assert isinstance(fact, MessageRequested | AnswerRequested)  # noqa: S101 - the same fact, rewritten
            self._open[told.answer] = fact, self._newest

    async def _tokens(self, old: AnswerId, answer: AnswerId, request: Sequence) -> AnswerState:
        events = [self._rewriting.event(event, request) for event in self._exported.tokens.get(old, ())]
        return await self._append(answer, AnswerState(), events)

    async def _append(self, answer: AnswerId, state: AnswerState, events: list[AnswerEvent]) -> AnswerState:
        for event in events:
            sequence = await append_answer_event(
                self._log, answer, event, state.sequence, self._patience_seconds
            )
            evolve(state, event, sequence)
        return state

    async def _end(self, old: AnswerId) -> None:
        """Of an answer that had none where it was exported: what its tokens say, or that it has failed."""
        request, sequence = self._open.pop(old)
        state = await self._tokens(old, request.answer, sequence)
        missing = abandoned(state, request=sequence, model=request.model, worker=_WORKER, problem=IMPORTED)
        state = await self._append(request.answer, state, missing)
        assert state.ended is not None  # noqa: S101 - what was missing is there now
        fact = end_fact(request, state, state.ended)
        self._newest = await append_fact(self._log, fact, self._newest, self._patience_seconds)

    async def _forget_if_deleted(self) -> None:
        """What was still written after a deleted chat's tokens were purged goes too."""
        if await self._log.last(subjects.fact(self._chat, "chat-deleted")) is not None:
            await self._log.purge(subjects.answers(self._chat))
