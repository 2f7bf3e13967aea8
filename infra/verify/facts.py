"""Reads CHATS from its start up to a sequence, in batches."""

from collections.abc import AsyncIterator

from shared.domain import subjects
from shared.domain.subjects import CHATS, CHATS_SUBJECTS, ChatId, Sequence
from shared.log.protocol import Log
from shared.log.recorded import Recorded
from shared.settings import Settings


class Facts:
    """Reads the facts of one chat in a single batch, or of all chats in batches of `projector_batch_max`."""

    def __init__(self, log: Log, settings: Settings, chat: ChatId | None) -> None:
        self._log = log
        self._batch_max = settings.projector_batch_max
        self._chat = chat

    async def read_batches(self, after: Sequence, up_to: Sequence) -> AsyncIterator[list[Recorded]]:
        """Yields batches in order of sequence; `after` is exclusive, `up_to` inclusive."""
        while after < up_to:
            batch = [stored for stored in await self._read_next(after) if stored.sequence <= up_to]
            if not batch:
                return
            yield batch
            after = batch[-1].sequence

    async def _read_next(self, after: Sequence) -> list[Recorded]:
        if self._chat is not None:
            return await self._log.read(subjects.facts(self._chat), after)
        if batch := await self._log.scan(CHATS, after, self._batch_max):
            return batch
        # A replica may lag behind the leader: ask the leader before reporting the end.
        first = await self._log.next(CHATS_SUBJECTS, Sequence(after + 1))
        return [first] if first else []

    async def was_deleted_after(self, chat: str, sequence: Sequence) -> bool:
        """Returns True if the chat has a tombstone after `sequence`: its missing rows are then no difference."""
        tombstone = await self._log.last(subjects.fact(chat, "chat-deleted"))
        return tombstone is not None and tombstone.sequence > sequence
