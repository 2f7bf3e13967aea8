"""What was written for a chat while it was deleted: its purge came first, so it would stay until its age is up."""

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
    """A chat is purged once more when its deletion is heard of, and whenever a token of it comes after that.

    Every API does so, as the one that purged first may have died, and a second purge removes nothing. The leader is
    asked for the tombstone before: what is not deleted for it is not purged.
    """

    def __init__(self, commands: Commands, is_deleted: Callable[[ChatId], bool], settings: Settings) -> None:
        self._commands = commands
        self._is_deleted = is_deleted
        self._settings = settings
        self._chats: dict[ChatId, None] = {}
        """At most as many as `is_deleted` knows (`chat_states_max`)."""
        self._more = asyncio.Event()

    def deleted(self, chat: ChatId) -> None:
        """Called by the follower of CHATS."""
        self._chats[chat] = None
        self._more.set()

    def tokens(self, recorded: Recorded) -> None:
        """Called by the follower of TOKENS."""
        if self._is_deleted(recorded.chat):
            self.deleted(recorded.chat)

    async def run(self) -> None:
        """For ever."""
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
