"""The hot log: answers as encoded frames, in order, in memory, filled by this process' follower of TOKENS.

The law of this file: an answer in it is whole from its first event, or it is not served. Watchers are
positions in its list of frames. What can no longer be trusted (the log lost its tail, a gap, room was
needed) is not mended but marked `stale`, and its watchers open it anew from their cursors.
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
    """One answer's frames. `done` once the last one is there; `stale` once it is not to be used any more."""

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
        """Whether the end on the answer's own subject has come: nothing follows it."""
        self.done = False
        self.stale = False
        self.deleted = False
        self.backlog: list[Recorded] | None = None
        """While the beginning is being read: what has come in meanwhile."""
        self._attempts: list[Attempt] = []
        self._positions: list[int] = []
        self._waiting: set[asyncio.Future[None]] = set()

    @property
    def whole(self) -> bool:
        return self.backlog is None and not self.stale

    def add(self, event: AnswerEvent, sequence: Sequence) -> bool:
        """False when an event before it is missing: something was lost on the way here. Known ones are passed over."""
        if sequence <= self.sequence:
            return True
        if not self.events and not _begins(event):
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
        if frame := sse.frame_of(event):
            self._append(frame)
        return True

    def finish(self) -> None:
        """Appends `done`, if the fact is known and all before it is there: after the last token a reset may come."""
        if self.end is None or self.done or not self.whole or not self.complete:
            return
        self.done = True
        self._append(sse.done(*self.end))

    def _append(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.size_bytes += len(frame) * 2 + _FRAME_OVERHEAD_BYTES
        self.wake()

    def wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def changed(self) -> None:
        """Until a frame is appended or the answer becomes stale, from the moment of the call."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def position_after(self, cursor: Cursor) -> int | None:
        """Where a client with this cursor goes on; None when its event is not one of ours."""
        if cursor.index is None or cursor.index > self.last_index:
            return None
        if self._attempts[cursor.index - 1] != cursor.attempt:
            return None
        return self._positions[cursor.index - 1] + 1

    def cursor_at(self, position: int) -> Cursor | None:
        """Returns the cursor of the last token before a position in `frames`; None before the first."""
        tokens = bisect_left(self._positions, position)
        return Cursor(self._attempts[tokens - 1], Index(tokens)) if tokens else None

    def state(self) -> AnswerState:
        """The fold of all that is here. `sequence` in it is only a count."""
        state = AnswerState()
        for number, event in enumerate(self.events, start=1):
            evolve(state, event, Sequence(number))
        return state


class HotLog:
    """All hot answers of this process, within `hot_log_max_bytes`."""

    def __init__(self, log_: Log, settings: Settings) -> None:
        self._log = log_
        self._settings = settings
        self._answers: OrderedDict[AnswerId, HotAnswer] = OrderedDict()
        self._size_bytes = 0
        self._wanted: dict[AnswerId, asyncio.Future[None]] = {}
        self._want = asyncio.Event()

    # --- what the followers bring ----------------------------------------------------------------------

    def begin(self, answer: AnswerId) -> None:
        """Called before an answer is asked for here, while TOKENS is followed: the follower will bring all of it.

        Whoever reads it at once then needs no read of the log. Should the request not be stored, nobody comes for it.
        """
        if answer not in self._answers:
            self._new(answer)

    def tokens(self, recorded: Recorded) -> None:
        """Called by the follower of TOKENS, in order."""
        answer, event = recorded.answer, recorded.event
        if answer is None:
            return
        hot = self._answers.get(answer)
        if hot is not None and hot.backlog is not None:
            hot.backlog.append(recorded)
        elif hot is not None:
            self._add(hot, event, recorded.sequence)
        elif isinstance(event, AnswerEvent) and _begins(event):
            self._add(self._new(answer), event, recorded.sequence)
        # Else its beginning was before our time: it is read when somebody asks for it.

    def _add(self, hot: HotAnswer, event: Event | Unknown, sequence: Sequence) -> None:
        if not isinstance(event, AnswerEvent):
            return
        before = hot.size_bytes
        whole = hot.add(event, sequence)
        self._size_bytes += hot.size_bytes - before
        if not whole:
            log.error("event-missing", answer=hot.id, sequence=sequence, index=hot.last_index)
            self._drop(hot)
            return
        self._finish(hot)
        self._make_room()

    def _finish(self, hot: HotAnswer) -> None:
        before = hot.size_bytes
        hot.finish()
        self._size_bytes += hot.size_bytes - before

    def ended(self, end: AnswerEnded, sequence: Sequence) -> None:
        """Called by the follower of CHATS: the fact is in the log."""
        hot = self._answers.get(end.answer)
        if hot is None:
            return
        hot.end = (end, sequence)
        self._finish(hot)
        if not hot.done:
            # Its last tokens are in the log too, but the other follower has not brought them yet. Should they
            # never come (the broker lost them), watchers open it anew and get the fact's text.
            loop = asyncio.get_running_loop()
            loop.call_later(self._settings.done_wait_seconds, self._give_up_waiting, hot)

    def _give_up_waiting(self, hot: HotAnswer) -> None:
        if not hot.done and not hot.stale:
            self._drop(hot)

    def deleted(self, chat: ChatId) -> None:
        for hot in [hot for hot in self._answers.values() if subjects.chat_of(hot.id) == chat]:
            hot.deleted = True
            self._drop(hot)

    def rewound(self) -> None:
        """The log lost what had been followed: nothing here is to be trusted."""
        for hot in list(self._answers.values()):
            self._drop(hot)

    # --- what watchers ask for -------------------------------------------------------------------------

    def get(self, answer: AnswerId) -> HotAnswer | None:
        """If it is here, whole."""
        hot = self._answers.get(answer)
        if hot is None or not hot.whole:
            return None
        self._answers.move_to_end(answer)
        return hot

    async def read(self, answer: AnswerId) -> HotAnswer:
        """Brings an answer that is running into the hot log, from its first event. Raises `LogUnavailable`.

        Single flight: all who ask for the same answer meanwhile wait for the same read.
        """
        if answer not in self._wanted:
            self._wanted[answer] = asyncio.get_running_loop().create_future()
            if (stale := self._answers.get(answer)) is not None:
                self._drop(stale)
            self._new(answer).backlog = []
            self._want.set()
        await asyncio.shield(self._wanted[answer])
        found = self.get(answer)
        if found is None:
            raise LogUnavailable(f"{answer} could not be read whole")
        return found

    async def fill(self) -> None:
        """Serves `read`, for ever: one scan of the stream for all that are waiting."""
        while True:
            await self._want.wait()
            self._want.clear()
            while batch := list(self._wanted)[: self._settings.cold_answers_max]:
                try:
                    found = await self._log.read_many([subjects.answer(answer) for answer in batch])
                except LogUnavailable as error:
                    self._settle(batch, error)
                    continue
                for answer in batch:
                    self._complete(answer, found[subjects.answer(answer)])
                self._settle(batch, None)

    def _settle(self, batch: Iterable[AnswerId], error: LogUnavailable | None) -> None:
        for answer in batch:
            future = self._wanted.pop(answer)
            if error is None:
                future.set_result(None)
                continue
            future.set_exception(error)
            future.exception()  # whoever waited may have gone
            if hot := self._answers.get(answer):
                self._drop(hot)

    def _complete(self, answer: AnswerId, found: list[Recorded]) -> None:
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

    # --- room ----------------------------------------------------------------------------------------------

    def _new(self, answer: AnswerId) -> HotAnswer:
        self._make_room()
        hot = self._answers[answer] = HotAnswer(answer)
        self._size_bytes += hot.size_bytes
        return hot

    def _make_room(self) -> None:
        """Ended answers first, least recently used first; then running ones that nobody watches; then any."""
        if self._size_bytes <= self._settings.hot_log_max_bytes:
            return
        for may_go in (_ended_unwatched, _unwatched, _any):
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


def _begins(event: AnswerEvent) -> bool:
    return isinstance(event, GenerationStarted) and event.attempt == 1


def _ended_unwatched(hot: HotAnswer) -> bool:
    return hot.done and not hot.watchers


def _unwatched(hot: HotAnswer) -> bool:
    return not hot.watchers and hot.backlog is None


def _any(_hot: HotAnswer) -> bool:
    return True
