"""The hot log: answers as encoded frames in memory, in order, filled by this process' follower of TOKENS.

Invariant: an answer is complete from its first event, or it is not served. Watchers are positions in its list of
frames. An answer that is no longer valid (the log lost its tail, an event is missing, memory is needed) is never
repaired: it is marked `stale` and evicted, and its watchers reopen it from their cursors.
"""

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterable

from services.api.streaming import sse
from services.api.streaming.sse import Cursor
from shared.domain import subjects
from shared.domain.answer import AnswerState, evolve
from shared.domain.errors import LogUnavailable
from shared.domain.events import (
    AnswerEnded,
    AnswerEvent,
    GenerationEnded,
    GenerationReset,
    GenerationStarted,
    TokenEmitted,
)
from shared.domain.subjects import AnswerId, Attempt, ChatId, Index, Sequence
from shared.log.protocol import Log
from shared.log.recorded import Event, Recorded, Unknown
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

_FRAME_OVERHEAD_BYTES = 120
_ANSWER_OVERHEAD_BYTES = 2_000


class HotAnswer:
    """The frames of one answer. `done`: the last frame is appended. `stale`: evicted, not valid any more.

    The hot log owns it; watchers may hold it until it is done or stale.
    """

    def __init__(self, answer: AnswerId) -> None:
        self.id = answer
        self.frames: list[bytes] = []
        self.events: list[AnswerEvent] = []
        self.sequence = Sequence(0)
        self.last_index = Index(0)
        self.size_bytes = _ANSWER_OVERHEAD_BYTES
        self.watchers = 0
        self.end: tuple[AnswerEnded, Sequence] | None = None
        self.complete = False
        """True after the end on the answer's subject: no event follows."""
        self.done = False
        self.stale = False
        self.deleted = False
        self.backlog: list[Recorded] | None = None
        """Events that arrive while the beginning is read from the log; None otherwise."""
        self._attempts: list[Attempt] = []
        self._positions: list[int] = []
        self._resets: dict[int, Cursor | None] = {}
        """The position of each reset, and its cursor."""
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def is_whole(self) -> bool:
        """True if no event is missing so far."""
        return self.backlog is None and not self.stale

    def add(self, event: AnswerEvent, sequence: Sequence) -> bool:
        """Appends an event and its frame. Returns False if an earlier event is missing. Ignores known events."""
        if sequence <= self.sequence:
            return True
        if not self.events and not _is_beginning(event):
            return False
        if isinstance(event, TokenEmitted):
            if event.index != self.last_index + 1:
                return False
            self.last_index = event.index
            self._attempts.append(event.attempt)
            self._positions.append(len(self.frames))
        self.sequence = sequence
        self.complete = isinstance(event, GenerationEnded)
        self.events.append(event)
        if isinstance(event, GenerationReset):
            self._resets[len(self.frames)] = sse.cursor_of_reset(event.attempt, self.last_index)
        if frame := sse.frame_of(event, self.last_index):
            self._append(frame)
        return True

    def is_begun_again_by(self, event: Event | Unknown, sequence: Sequence) -> bool:
        """Returns True for a second beginning: its worker restores events that the log lost or purged."""
        return bool(self.events) and sequence > self.sequence and _is_beginning(event)

    def finish(self) -> None:
        """Appends `done` if the fact and all events are present: a reset may still follow the last token."""
        if self.end is None or self.done or not self.is_whole or not self.complete:
            return
        self.done = True
        self._append(sse.done(*self.end))

    def _append(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.size_bytes += len(frame) * 2 + _FRAME_OVERHEAD_BYTES
        self.wake()

    def wake(self) -> None:
        """Wakes all watchers."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def wait_for_change(self) -> None:
        """Returns when a frame is appended after the call, or when the answer becomes stale."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def position_after(self, cursor: Cursor) -> int | None:
        """Returns the position at which a client with this cursor continues, or None if we do not have its event."""
        if cursor.index is None or cursor.index > self.last_index:
            return None
        if cursor.is_reset:
            return next((at + 1 for at, known in self._resets.items() if known == cursor), None)
        if self._attempts[cursor.index - 1] != cursor.attempt:
            return None
        return self._positions[cursor.index - 1] + 1

    def cursor_at(self, position: int) -> Cursor | None:
        """Returns the cursor of the last token or reset before a position in `frames`; None before the first."""
        tokens = bisect_left(self._positions, position)
        if not tokens:
            return None
        after = self._positions[tokens - 1]
        resets = [cursor for at, cursor in self._resets.items() if after < at < position]
        return resets[-1] if resets else Cursor(self._attempts[tokens - 1], Index(tokens))

    def state(self) -> AnswerState:
        """Returns the fold of all events. Its `sequence` is only a count."""
        state = AnswerState()
        for number, event in enumerate(self.events, start=1):
            evolve(state, event, Sequence(number))
        return state


class HotLog:
    """All hot answers of this process, within `hot_log_max_bytes`. The app owns it and runs `fill`."""

    def __init__(self, log_: Log, settings: Settings) -> None:
        self._log = log_
        self._settings = settings
        self._answers: OrderedDict[AnswerId, HotAnswer] = OrderedDict()
        self._size_bytes = 0
        self._pending_reads: dict[AnswerId, asyncio.Future[None]] = {}
        self._has_pending_reads = asyncio.Event()

    # --- called by the followers -------------------------------------------------------------------------

    def begin(self, answer: AnswerId) -> None:
        """Adds an empty answer before its request is appended: the follower will deliver all its events.

        Its readers then need no read of the log. Without a stored request, the entry stays empty until it is evicted.
        """
        if answer not in self._answers:
            self._create(answer)

    def follow_tokens(self, recorded: Recorded) -> None:
        """Adds one event. The follower of TOKENS calls it in order."""
        answer, event = recorded.answer, recorded.event
        if answer is None:
            return
        hot = self._answers.get(answer)
        if hot is not None and hot.backlog is not None:
            hot.backlog.append(recorded)
        elif hot is not None and hot.is_begun_again_by(event, recorded.sequence):
            self._drop(hot)
            self._add(self._create(answer), event, recorded.sequence)
        elif hot is not None:
            self._add(hot, event, recorded.sequence)
        elif _is_beginning(event):
            self._add(self._create(answer), event, recorded.sequence)
        # Else its beginning was not followed: `read` loads it on demand.

    def _add(self, hot: HotAnswer, event: Event | Unknown, sequence: Sequence) -> None:
        if not isinstance(event, AnswerEvent):
            return
        before = hot.size_bytes
        whole = hot.add(event, sequence)
        self._size_bytes += hot.size_bytes - before
        if not whole:
            # Without any event, it began before this process followed: readers get it from the log.
            tell = log.error if hot.events else log.info
            tell("event-missing", answer=hot.id, sequence=sequence, index=hot.last_index)
            self._drop(hot)
            return
        self._finish(hot)
        self._make_room()

    def _finish(self, hot: HotAnswer) -> None:
        before = hot.size_bytes
        hot.finish()
        self._size_bytes += hot.size_bytes - before

    def record_end(self, end: AnswerEnded, sequence: Sequence) -> None:
        """Records the fact of an answer's end. The follower of CHATS calls it."""
        hot = self._answers.get(end.answer)
        if hot is None:
            return
        hot.end = (end, sequence)
        self._finish(hot)
        if not hot.done:
            # Its last tokens are in the log, but the other follower has not delivered them yet. If they never
            # arrive, because the broker lost them, watchers reopen the answer and get the fact's text.
            loop = asyncio.get_running_loop()
            loop.call_later(self._settings.done_wait_seconds, self._drop_incomplete, hot)

    def _drop_incomplete(self, hot: HotAnswer) -> None:
        if not hot.done and not hot.stale:
            self._drop(hot)

    def drop_chat(self, chat: ChatId) -> None:
        """Evicts all answers of a deleted chat. Their streams break off."""
        for hot in [hot for hot in self._answers.values() if subjects.chat_of(hot.id) == chat]:
            hot.deleted = True
            self._drop(hot)

    def drop_all(self) -> None:
        """Evicts all answers, because the log lost events that were followed."""
        for hot in list(self._answers.values()):
            self._drop(hot)

    # --- called by the routes ----------------------------------------------------------------------------

    def get(self, answer: AnswerId) -> HotAnswer | None:
        """Returns the answer if it is here and no event is missing, else None. Marks it as recently used."""
        hot = self._answers.get(answer)
        if hot is None or not hot.is_whole:
            return None
        self._answers.move_to_end(answer)
        return hot

    async def read(self, answer: AnswerId) -> HotAnswer:
        """Reads an open answer from the log into the hot log, from its first event. Raises `LogUnavailable`.

        Concurrent calls for the same answer share one read.
        """
        if answer not in self._pending_reads:
            self._pending_reads[answer] = asyncio.get_running_loop().create_future()
            if (stale := self._answers.get(answer)) is not None:
                self._drop(stale)
            self._create(answer).backlog = []
            self._has_pending_reads.set()
        await asyncio.shield(self._pending_reads[answer])
        found = self.get(answer)
        if found is None:
            raise LogUnavailable(f"{answer} could not be read completely")
        return found

    async def fill(self) -> None:
        """Serves `read` until it is cancelled: with one scan of the stream for up to `cold_answers_max` answers."""
        while True:
            await self._has_pending_reads.wait()
            self._has_pending_reads.clear()
            while batch := list(self._pending_reads)[: self._settings.cold_answers_max]:
                try:
                    found = await self._log.read_many([subjects.answer(answer) for answer in batch])
                except LogUnavailable as error:
                    self._resolve(batch, error)
                    continue
                for answer in batch:
                    self._fill_answer(answer, found[subjects.answer(answer)])
                self._resolve(batch, None)

    def _resolve(self, batch: Iterable[AnswerId], error: LogUnavailable | None) -> None:
        for answer in batch:
            future = self._pending_reads.pop(answer)
            if error is None:
                future.set_result(None)
                continue
            future.set_exception(error)
            future.exception()  # Mark it as retrieved: the caller may be gone.
            if hot := self._answers.get(answer):
                self._drop(hot)

    def _fill_answer(self, answer: AnswerId, found: list[Recorded]) -> None:
        hot = self._answers.get(answer)
        if hot is None or hot.backlog is None:
            return
        backlog, hot.backlog = hot.backlog, None
        for recorded in (*found, *backlog):
            if hot.stale:
                return
            self._add(hot, recorded.event, recorded.sequence)
        self._finish(hot)

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    # --- eviction ------------------------------------------------------------------------------------------

    def _create(self, answer: AnswerId) -> HotAnswer:
        self._make_room()
        hot = self._answers[answer] = HotAnswer(answer)
        self._size_bytes += hot.size_bytes
        return hot

    def _make_room(self) -> None:
        """Evicts answers down to 3/4 of the limit: ended ones first, then open ones without watchers, then others.

        Each group is evicted in order of last use.
        """
        if self._size_bytes <= self._settings.hot_log_max_bytes:
            return
        for may_go in (_is_ended_and_unwatched, _is_unwatched, _is_any):
            for hot in [hot for hot in self._answers.values() if may_go(hot)]:
                self._drop(hot)
                if self._size_bytes <= self._settings.hot_log_max_bytes * 3 // 4:
                    return

    def _drop(self, hot: HotAnswer) -> None:
        hot.stale = True
        if self._answers.get(hot.id) is hot:
            del self._answers[hot.id]
        self._size_bytes -= hot.size_bytes
        hot.wake()


def _is_beginning(event: Event | Unknown) -> bool:
    return isinstance(event, GenerationStarted) and event.attempt == 1


def _is_ended_and_unwatched(hot: HotAnswer) -> bool:
    return hot.done and not hot.watchers


def _is_unwatched(hot: HotAnswer) -> bool:
    return not hot.watchers and hot.backlog is None


def _is_any(_hot: HotAnswer) -> bool:
    return True
