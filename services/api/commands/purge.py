"""Purges events that were appended to a chat while it was being deleted, after its purge."""

import asyncio
from collections.abc import Callable

from services.api.commands.handler import Commands
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import ChatId
from shared.log.recorded import Recorded
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)


class Leftovers:
    """Purges a chat again when its deletion is followed, and after each later token of it. The app owns and runs it.

    Every API does so, because the one that purged first may have died; a second purge removes nothing. Before a purge
    it reads the tombstone from the leader: a chat that is not deleted there is not purged.
    """

    def __init__(self, commands: Commands, is_deleted: Callable[[ChatId], bool], settings: Settings) -> None:
        self._commands = commands
        self._is_deleted = is_deleted
        self._settings = settings
        self._chats: dict[ChatId, None] = {}
        """At most as many as `is_deleted` knows (`chat_states_max`)."""
        self._more = asyncio.Event()

    def follow_deletion(self, chat: ChatId) -> None:
        """Records a deleted chat. The follower of CHATS calls it."""
        self._chats[chat] = None
        self._more.set()

    def follow_tokens(self, recorded: Recorded) -> None:
        """Records a late token of a deleted chat. The follower of TOKENS calls it."""
        if self._is_deleted(recorded.chat):
            self.follow_deletion(recorded.chat)

    async def run(self) -> None:
        """Purges recorded chats until it is cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._chats:
                chat, _ = self._chats.popitem()
                try:
                    await self._commands.purge(chat)
                except LogUnavailable as error:
                    log.warning("leftovers-wait", chat=chat, reason=str(error))
                    self._chats[chat] = None
                    await asyncio.sleep(self._settings.projector_retry_seconds)
