"""CHATS from its beginning up to a sequence, some facts at a time."""

from collections.abc import AsyncIterator

from shared.domain import subjects
from shared.domain.subjects import CHATS, CHATS_SUBJECTS, ChatId, Sequence
from shared.log.event_log import EventLog
from shared.log.protocol import Stored
from shared.settings import Settings


class Facts:
    """Of one chat, or of all. One chat is read at once, all of them by `projector_batch_max` facts."""

    def __init__(self, log: EventLog, settings: Settings, chat: ChatId | None) -> None:
        self._log = log
        self._batch_max = settings.projector_batch_max
        self._chat = chat

    async def between(self, after: Sequence, up_to: Sequence) -> AsyncIterator[list[Stored]]:
        """In order; `after` exclusive, `up_to` inclusive."""
        while after < up_to:
            batch = [stored for stored in await self._next(after) if stored.sequence <= up_to]
            if not batch:
                return
            yield batch
            after = batch[-1].sequence

    async def _next(self, after: Sequence) -> list[Stored]:
        if self._chat is not None:
            return await self._log.read(subjects.facts(self._chat), after)
        if batch := await self._log.scan(CHATS, after, self._batch_max):
            return batch
        # A replica that is behind knows of none where the leader does.
        first = await self._log.next(CHATS_SUBJECTS, Sequence(after + 1))
        return [first] if first else []

    async def deleted_after(self, chat: str, sequence: Sequence) -> bool:
        """Whether what is missing of a chat is missing because it was deleted while we looked."""
        tombstone = await self._log.last(subjects.fact(chat, "chat-deleted"))
        return tombstone is not None and tombstone.sequence > sequence
