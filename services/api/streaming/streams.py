"""Answer streams: from an answer's id and a client's cursor to exactly the missing bytes.

Invariant: a stream never has a silent gap or repetition. If it cannot continue after the cursor, it begins with a
`snapshot`, which replaces everything that the client has.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

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
    """The process has reached its limit of open streams (`streams_max`)."""


class Nothing(Struct, frozen=True):
    """The answer has ended and the client has its last event."""


class Ended(Struct, frozen=True):
    """The answer has ended and is not hot: `data` is the whole rest of its stream."""

    data: bytes


class Live(Struct, frozen=True):
    """The answer is hot: its stream is `first`, then the frames from `position` on."""

    hot: HotAnswer
    position: int
    first: bytes = b""


Opened = Nothing | Ended | Live


class Streams:
    """Opens and follows the answer streams of this process. The app owns it and closes it."""

    def __init__(self, log_: Log, hot_log: HotLog, states: ChatStates, settings: Settings) -> None:
        self._log = log_
        self._hot_log = hot_log
        self._states = states
        self._settings = settings
        self._closing = asyncio.Event()
        self._watched: dict[HotAnswer, None] = {}
        self.open_count = 0

    def close(self) -> None:
        """Breaks off every stream without an end, so that its client reconnects to another replica."""
        self._closing.set()
        for hot in self._watched:
            hot.wake()

    async def find_node(self, answer: AnswerId, owner: str) -> AnswerNode:
        """Returns the answer's node in its chat. Raises `NotFound` only after a read from the leader."""
        chat = subjects.chat_of(answer)
        state = await self._states.get(chat)
        if answer not in state.answers or state.owner != owner:
            state = await self._states.fresh(chat)
        check_exists(state, owner)
        found = state.answers.get(answer)
        if found is None:
            raise NotFound("answer", answer)
        return found

    async def read_end(self, node: AnswerNode) -> tuple[AnswerEnded, Sequence] | None:
        """Returns the fact of the answer's end and its sequence, read from the log; None if it has not ended."""
        if node.ended is None:
            return None
        (recorded,) = await self._log.fetch(subjects.CHATS, [node.ended])
        end = recorded.event if recorded else None
        if not isinstance(end, AnswerEnded) or end.answer != node.id:
            raise NotFound("answer", node.id)
        return end, node.ended

    async def open(self, answer: AnswerId, owner: str, cursor: Cursor | None) -> Opened:
        """Decides how the stream begins, before anything is sent.

        Raises `NotFound`, `LogUnavailable` or `TooManyStreams`.
        """
        if self.open_count >= self._settings.streams_max:
            raise TooManyStreams(
                f"This server has reached its limit of {self._settings.streams_max} open streams."
            )
        node = await self.find_node(answer, owner)
        if node.ended is None and cursor is not None and cursor.index is None:
            await self._states.fresh(subjects.chat_of(answer))  # The client has seen an end that we have not.
            node = await self.find_node(answer, owner)
        hot = self._hot_log.get(answer)
        if (hot is None or hot.end is None) and (end := await self.read_end(node)) is not None:
            if hot is None:
                return _count_opening(_open_ended(*end, cursor), cursor, cold=True)
            # The followers started after the fact but before its tokens: nothing else will record the end.
            self._hot_log.record_end(*end)
        cold = hot is None
        if hot is None:
            hot = await self._hot_log.read(answer)
        return _count_opening(await self._open_hot(hot, cursor), cursor, cold=cold)

    async def _open_hot(self, hot: HotAnswer, cursor: Cursor | None) -> Opened:
        if cursor is None:
            return Live(hot, 0)
        if hot.done and hot.end is not None:
            end = hot.end[0]
            if cursor == Cursor(end.attempt, None):
                return Nothing()
        index = cursor.index
        if index is not None and index > hot.last_index and await self._is_stored(hot, cursor):
            await self._wait_until(hot, lambda: hot.last_index >= index)
        if cursor.is_reset and hot.position_after(cursor) is None:
            await self._wait_for_newest(hot)
        position = hot.position_after(cursor)
        if position is not None:
            return Live(hot, position)
        # No await between here and the position: no frame can be appended between the snapshot and the position.
        return Live(hot, len(hot.frames) - hot.done, sse.snapshot(hot.state()))

    async def _is_stored(self, hot: HotAnswer, cursor: Cursor) -> bool:
        """Returns True if the log has the client's event: then this process lags. Else the log lost it."""
        newest = await self._log.last(subjects.answer(hot.id))
        if newest is None or cursor.index is None:
            return False
        event = newest.event
        known = event.index if isinstance(event, TokenEmitted) else getattr(event, "last_index", None)
        return known is None or known >= cursor.index

    async def _wait_for_newest(self, hot: HotAnswer) -> None:
        """Waits until the answer has what the log has of it now. Raises as `_wait_until`."""
        newest = await self._log.last(subjects.answer(hot.id))
        sequence = newest.sequence if newest else Sequence(0)
        await self._wait_until(hot, lambda: hot.sequence >= sequence)

    async def _wait_until(self, hot: HotAnswer, has_it: Callable[[], bool]) -> None:
        """Waits until the answer has what the client has seen. Raises `LogUnavailable` after `done_wait_seconds`: a
        snapshot would take back text that the client has shown.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.done_wait_seconds):
                while not has_it() and not hot.stale:
                    await hot.wait_for_change()
        if not has_it():
            raise LogUnavailable(f"{hot.id}: this process lags behind the client's cursor")

    def make_body(self, opened: Opened, answer: AnswerId, owner: str) -> AsyncIterator[bytes]:
        """Returns the bytes of an opened stream."""
        match opened:
            case Live():
                return self.follow(opened, answer, owner)
            case Ended():
                return _yield_once(opened.data)
            case Nothing():
                return _yield_once(b"")

    async def follow(self, opened: Live, answer: AnswerId, owner: str) -> AsyncIterator[bytes]:
        """Yields bytes as they arrive; pending frames are joined. Ends after `done`, else raises `StreamBroken`."""
        self.open_count += 1
        try:
            while True:
                if opened.first:
                    yield opened.first
                cursor: Cursor | None = None
                async for chunk, reached in self._follow_frames(opened):
                    cursor = reached
                    yield chunk
                if opened.hot.done and not opened.hot.stale:
                    return
                reopened = await self._reopen(
                    opened.hot, answer, owner, cursor or opened.hot.cursor_at(opened.position)
                )
                if not isinstance(reopened, Live):
                    if isinstance(reopened, Ended):
                        yield reopened.data
                    return
                opened = reopened
        finally:
            self.open_count -= 1

    async def _reopen(self, hot: HotAnswer, answer: AnswerId, owner: str, cursor: Cursor | None) -> Opened:
        if hot.deleted:
            raise StreamBroken("deleted")
        try:
            return await self.open(answer, owner, cursor)
        except UnspoolError as error:
            raise StreamBroken(str(error)) from error

    async def _follow_frames(self, opened: Live) -> AsyncIterator[tuple[bytes, Cursor | None]]:
        """Yields pending frames, joined, with the cursor they reach, until `done` or until the answer is stale."""
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
                elif not await self._wait_for_frame(hot):
                    yield sse.KEEP_ALIVE, hot.cursor_at(position)
        finally:
            hot.watchers -= 1
            if not hot.watchers:
                self._watched.pop(hot, None)

    async def _wait_for_frame(self, hot: HotAnswer) -> bool:
        """Returns True for a new frame, False when a keep-alive is due. Raises `StreamBroken` at `close`."""
        if self._closing.is_set():
            raise StreamBroken("shutdown")
        try:
            async with asyncio.timeout(self._settings.keep_alive_seconds):
                await hot.wait_for_change()
        except TimeoutError:
            return False
        return True


class StreamBroken(UnspoolError):
    """The stream cannot continue: the connection must be cut without a clean end, so that the client reconnects."""


def _open_ended(end: AnswerEnded, sequence: Sequence, cursor: Cursor | None) -> Opened:
    if cursor == Cursor(end.attempt, None):
        return Nothing()
    has_all = cursor is not None and bool(end.spans) and cursor == sse.last_token(end)
    last = sse.done(end, sequence)
    return Ended(last if has_all else sse.snapshot_of_end(end) + last)


def _count_opening(opened: Opened, cursor: Cursor | None, *, cold: bool) -> Opened:
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


async def _yield_once(data: bytes) -> AsyncIterator[bytes]:
    yield data
