"""A chat's events, read from JetStream: those that are there, and those that come."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from infra.inspect.entries import Entry, entry, interleave, is_end
from shared.domain import subjects
from shared.domain.errors import NotFound, UnspoolError
from shared.domain.events import GenerationEnded
from shared.domain.subjects import CHATS, TOKENS, AnswerId, ChatId, Sequence
from shared.log.follower import Follower
from shared.log.protocol import Log
from shared.log.recorded import Recorded
from shared.settings import Settings

AHEAD_MAX = 200_000
"""Events that may wait to be shown."""
END_WAIT_SECONDS = 2.0
"""How long the end of an answer is held back for its last tokens, which another follower brings."""


class ChatLog:
    def __init__(self, log: Log, settings: Settings, chat: ChatId) -> None:
        self._log = log
        self._settings = settings
        self._chat = chat
        self._subject = {CHATS: subjects.facts(chat), TOKENS: subjects.answers(chat)}
        self._read_up_to: dict[str, Sequence] = {}
        self._running: set[AnswerId] = set()
        """Answers of which there were events, and not yet the last."""

    async def history(self) -> AsyncIterator[Entry]:
        """All up to now, and not a moment later: `follow` begins there. Raises `NotFound`."""
        found: dict[str, list[Entry]] = {}
        for stream, subject in self._subject.items():
            up_to = (await self._log.position(stream)).last
            self._read_up_to[stream] = up_to
            stored = await self._log.read(subject, Sequence(0))
            found[stream] = [entry(one) for one in stored if one.sequence <= up_to]
        if not any(found.values()):
            raise NotFound("chat", self._chat)
        for one in interleave(found[CHATS], found[TOKENS]):
            self._note(one)
            yield one

    async def follow(self, show: Callable[[Entry], Awaitable[None]]) -> None:
        """From where `history` ended, for ever."""
        news: asyncio.Queue[Entry] = asyncio.Queue()

        def came(stored: Recorded) -> None:
            if news.qsize() >= AHEAD_MAX:
                raise UnspoolError(f"more than {AHEAD_MAX} events came than could be shown")
            news.put_nowait(entry(stored))

        async with asyncio.TaskGroup() as group:
            for stream in self._subject:
                group.create_task(self._follower(stream, came).run())
            while True:
                await self._show_in_order(news, show)

    def _follower(self, stream: str, came: Callable[[Recorded], None]) -> Follower:
        async def start() -> Sequence:
            return Sequence(self._read_up_to[stream] + 1)

        filters = (self._subject[stream],)
        return Follower(self._log, stream, came, self._settings, filters=filters, start=start)

    async def _show_in_order(
        self, news: asyncio.Queue[Entry], show: Callable[[Entry], Awaitable[None]]
    ) -> None:
        """The next one; if it is an answer's end, first what is still missing of the answer."""
        one = await news.get()
        later: list[Entry] = []
        deadline = asyncio.get_running_loop().time() + END_WAIT_SECONDS
        with contextlib.suppress(TimeoutError):
            while is_end(one) and one.answer in self._running:
                async with asyncio.timeout_at(deadline):
                    other = await news.get()
                if other.stream == CHATS:
                    later.append(other)
                    continue
                self._note(other)
                await show(other)
        for each in (one, *later):
            self._note(each)
            await show(each)

    def _note(self, one: Entry) -> None:
        if one.stream == TOKENS and one.answer is not None:
            if isinstance(one.event, GenerationEnded):
                self._running.discard(one.answer)
            else:
                self._running.add(one.answer)
