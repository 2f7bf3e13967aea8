"""Reads a chat's events from JetStream: stored events and new ones."""

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
"""Limit of events that wait to be shown."""
END_WAIT_SECONDS = 2.0
"""Time that the end of an answer waits for its last tokens, which another follower delivers."""


class ChatLog:
    """Reads the events of one chat. Call `history` first, then `follow`. The caller owns the log."""

    def __init__(self, log: Log, settings: Settings, chat: ChatId) -> None:
        self._log = log
        self._settings = settings
        self._chat = chat
        self._subject = {CHATS: subjects.facts(chat), TOKENS: subjects.answers(chat)}
        self._read_up_to: dict[str, Sequence] = {}
        self._running: set[AnswerId] = set()
        """Answers with events but without their last event so far."""

    async def history(self) -> AsyncIterator[Entry]:
        """Yields all events that were stored before the call, in order. Raises `NotFound` if there are none."""
        found: dict[str, list[Entry]] = {}
        for stream, subject in self._subject.items():
            up_to = (await self._log.position(stream)).last
            self._read_up_to[stream] = up_to
            stored = await self._log.read(subject, Sequence(0))
            found[stream] = [entry(one) for one in stored if one.sequence <= up_to]
        if not any(found.values()):
            raise NotFound("chat", self._chat)
        for one in interleave(found[CHATS], found[TOKENS]):
            self._track(one)
            yield one

    async def follow(self, show: Callable[[Entry], Awaitable[None]]) -> None:
        """Shows new events after `history`, until it is cancelled. Raises `UnspoolError` if `show` is too slow."""
        news: asyncio.Queue[Entry] = asyncio.Queue()

        def enqueue(stored: Recorded) -> None:
            if news.qsize() >= AHEAD_MAX:
                raise UnspoolError(f"more than {AHEAD_MAX} events are waiting to be shown")
            news.put_nowait(entry(stored))

        async with asyncio.TaskGroup() as group:
            for stream in self._subject:
                group.create_task(self._follower(stream, enqueue).run())
            while True:
                await self._show_in_order(news, show)

    def _follower(self, stream: str, handle: Callable[[Recorded], None]) -> Follower:
        async def start() -> Sequence:
            return Sequence(self._read_up_to[stream] + 1)

        filters = (self._subject[stream],)
        return Follower(self._log, stream, handle, self._settings, filters=filters, start=start)

    async def _show_in_order(
        self, news: asyncio.Queue[Entry], show: Callable[[Entry], Awaitable[None]]
    ) -> None:
        """Shows the next event. Before an answer's end it shows the answer's remaining tokens."""
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
                self._track(other)
                await show(other)
        for each in (one, *later):
            self._track(each)
            await show(each)

    def _track(self, one: Entry) -> None:
        if one.stream == TOKENS and one.answer is not None:
            if isinstance(one.event, GenerationEnded):
                self._running.discard(one.answer)
            else:
                self._running.add(one.answer)
