"""Answer streams: from an answer's id and a client's cursor to exactly the bytes that this client lacks.

The law of this file: never a gap and never a repeat without saying so. What cannot be gone on with from
the cursor begins with a `snapshot`, which replaces all that the client has.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from msgspec import Struct

from services.api import metrics
from services.api.commands.chat_states import ChatStates
from services.api.streaming import sse
from services.api.streaming.hot_log import HotAnswer, HotLog
from services.api.streaming.sse import Cursor
from shared.domain import subjects
from shared.domain.chat import AnswerNode, check_exists
from shared.domain.errors import LogUnavailable, NotFound, UnspoolError
from shared.domain.events import (
    AnswerEnded,
    TokenEmitted,
)
from shared.domain.subjects import AnswerId, Sequence
from shared.log.protocol import Log
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)


class TooManyStreams(UnspoolError):
    """This process has as many open streams as it may have."""


class Nothing(Struct, frozen=True):
    """The client has all that there will ever be."""


class Ended(Struct, frozen=True):
    """The answer is at its end, and no longer hot: all of it at once."""

    data: bytes


class Live(Struct, frozen=True):
    """`first`, then the frames of `hot` from `position` on."""

    hot: HotAnswer
    position: int
    first: bytes = b""


Opened = Nothing | Ended | Live


class Streams:
    def __init__(self, log_: Log, hot_log: HotLog, states: ChatStates, settings: Settings) -> None:
        self._log = log_
        self._hot_log = hot_log
        self._states = states
        self._settings = settings
        self._closing = asyncio.Event()
        self._watched: dict[HotAnswer, None] = {}
        self.open_count = 0

    def close(self) -> None:
        """The process is going: every stream breaks off, without an end, so that its client goes elsewhere."""
        self._closing.set()
        for hot in self._watched:
            hot.wake()

    async def node(self, answer: AnswerId, owner: str) -> AnswerNode:
        """Where the answer stands in its chat. Raises `NotFound` only when the leader says so."""
        chat = subjects.chat_of(answer)
        state = await self._states.get(chat)
        if answer not in state.answers or state.owner != owner:
            state = await self._states.fresh(chat)
        check_exists(state, owner)
        found = state.answers.get(answer)
        if found is None:
            raise NotFound("answer", answer)
        return found

    async def end_of(self, node: AnswerNode) -> tuple[AnswerEnded, Sequence] | None:
        """The terminal fact, from the log itself; None while the answer runs."""
        if node.ended is None:
            return None
        (recorded,) = await self._log.fetch(subjects.CHATS, [node.ended])
        end = recorded.event if recorded else None
        if not isinstance(end, AnswerEnded) or end.answer != node.id:
            raise NotFound("answer", node.id)
        return end, node.ended

    async def open(self, answer: AnswerId, owner: str, cursor: Cursor | None) -> Opened:
        """Raises `NotFound`, `LogUnavailable` or `TooManyStreams`, and then nothing was sent."""
        if self.open_count >= self._settings.streams_max:
            raise TooManyStreams("This server has as many open streams as it may have.")
        node = await self.node(answer, owner)
        if node.ended is None and cursor is not None and cursor.index is None:
            await self._states.fresh(subjects.chat_of(answer))  # the client knows of an end that we do not
            node = await self.node(answer, owner)
        hot = self._hot_log.get(answer)
        if (hot is None or hot.end is None) and (end := await self.end_of(node)) is not None:
            if hot is None:
                return _counted(_opened_end(*end, cursor), cursor, cold=True)
            # The followers of this process began after its fact, and before its tokens: none will tell the hot log.
            self._hot_log.ended(*end)
        cold = hot is None
        if hot is None:
            hot = await self._hot_log.read(answer)
        return _counted(await self._opened_hot(hot, cursor), cursor, cold=cold)

    async def _opened_hot(self, hot: HotAnswer, cursor: Cursor | None) -> Opened:
        if cursor is None:
            return Live(hot, 0)
        if hot.done and hot.end is not None:
            end = hot.end[0]
            if cursor == Cursor(end.attempt, None):
                return Nothing()
        if cursor.index is not None and cursor.index > hot.last_index and await self._in_the_log(hot, cursor):
            await self._reach(hot, cursor.index)
        position = hot.position_after(cursor)
        if position is not None:
            return Live(hot, position)
        # Events and frames are taken in one step: nothing can come between the snapshot and what follows it.
        return Live(hot, len(hot.frames) - hot.done, sse.snapshot(hot.state()))

    async def _in_the_log(self, hot: HotAnswer, cursor: Cursor) -> bool:
        """Whether it is we who are behind, or the log that no longer has what the client saw."""
        newest = await self._log.last(subjects.answer(hot.id))
        if newest is None or cursor.index is None:
            return False
        event = newest.event
        known = event.index if isinstance(event, TokenEmitted) else getattr(event, "last_index", None)
        return known is None or known >= cursor.index

    async def _reach(self, hot: HotAnswer, index: int) -> None:
        """Raises `LogUnavailable` rather than to take back what the client has already been shown."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.done_wait_seconds):
                while hot.last_index < index and not hot.stale:
                    await hot.changed()
        if hot.last_index < index:
            raise LogUnavailable(f"{hot.id}: this process is behind what the client has")

    def bytes_of(self, opened: Opened, answer: AnswerId, owner: str) -> AsyncIterator[bytes]:
        """What a client gets for what was opened."""
        match opened:
            case Live():
                return self.follow(opened, answer, owner)
            case Ended():
                return _once(opened.data)
            case Nothing():
                return _once(b"")

    async def follow(self, opened: Live, answer: AnswerId, owner: str) -> AsyncIterator[bytes]:
        """Bytes as they come, frames that have piled up together. Ends after `done`; raises `StreamBroken` otherwise."""
        self.open_count += 1
        try:
            while True:
                if opened.first:
                    yield opened.first
                cursor: Cursor | None = None
                async for chunk, reached in self._frames(opened):
                    cursor = reached
                    yield chunk
                if opened.hot.done and not opened.hot.stale:
                    return
                reopened = await self._reopened(
                    opened.hot, answer, owner, cursor or opened.hot.cursor_at(opened.position)
                )
                if not isinstance(reopened, Live):
                    if isinstance(reopened, Ended):
                        yield reopened.data
                    return
                opened = reopened
        finally:
            self.open_count -= 1

    async def _reopened(self, hot: HotAnswer, answer: AnswerId, owner: str, cursor: Cursor | None) -> Opened:
        if hot.deleted:
            raise StreamBroken("deleted")
        try:
            return await self.open(answer, owner, cursor)
        except UnspoolError as error:
            raise StreamBroken(str(error)) from error

    async def _frames(self, opened: Live) -> AsyncIterator[tuple[bytes, Cursor | None]]:
        """Until `done`, or until the answer is stale."""
        hot, position = opened.hot, opened.position
        hot.watchers += 1
        self._watched[hot] = None
        try:
            while not hot.stale:
                if position < len(hot.frames):
                    chunk = b"".join(hot.frames[position:])
                    metrics.count_write(len(hot.frames) - position, len(chunk))
                    position = len(hot.frames)
                    yield chunk, hot.cursor_at(position)
                elif hot.done:
                    return
                elif not await self._wait(hot):
                    yield sse.KEEP_ALIVE, hot.cursor_at(position)
        finally:
            hot.watchers -= 1
            if not hot.watchers:
                self._watched.pop(hot, None)

    async def _wait(self, hot: HotAnswer) -> bool:
        """True when there is something new; False after a silence in which a sign of life is due."""
        if self._closing.is_set():
            raise StreamBroken("shutdown")
        try:
            async with asyncio.timeout(self._settings.keep_alive_seconds):
                await hot.changed()
        except TimeoutError:
            return False
        return True


class StreamBroken(UnspoolError):
    """The stream cannot go on here: the connection is to be cut, without an end, so that the client comes again."""


def _opened_end(end: AnswerEnded, sequence: Sequence, cursor: Cursor | None) -> Opened:
    if cursor == Cursor(end.attempt, None):
        return Nothing()
    has_all = cursor is not None and bool(end.spans) and cursor == sse.last_token(end)
    last = sse.done(end, sequence)
    return Ended(last if has_all else sse.snapshot_of_end(end) + last)


def _counted(opened: Opened, cursor: Cursor | None, *, cold: bool) -> Opened:
    match opened:
        case Live() if opened.first:
            kind = "snapshot"
        case Live():
            kind = "resume" if cursor else "start"
        case Ended():
            kind = "ended"
        case Nothing():
            kind = "nothing"
    metrics.OPENED[kind, "direct" if cold else "hot"].inc()
    return opened


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
