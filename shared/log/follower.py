"""Follows a stream: delivers every stored event once, in order, for the life of the process.

Invariant: no delivery is missing. A gap in the consumer's sequence, a silence longer than the heartbeat allows, or a
reconnect ends the consumer, and a new one starts after the last handled event. If the log lost that event, everything
handled is void: `rewound` is called, and following starts again where the log really ends.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence
from shared.log.protocol import Log, Position
from shared.log.recorded import Recorded, Unknown
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

_SILENT_HEARTBEATS_MAX = 3
_RETRY_SECONDS = 0.2
_SAME_TIME = timedelta(milliseconds=1)

Start = Callable[[], Awaitable[Sequence | datetime]]


class Follower:
    """Calls `handle` for each event, in order. The process owns it and runs it.

    `handle` must not block. An error in it is logged, and the event is skipped.
    """

    def __init__(
        self,
        log_: Log,
        stream: str,
        handle: Callable[[Recorded], None],
        settings: Settings,
        *,
        filters: tuple[str, ...] = (),
        start: Start | None = None,
        rewound: Callable[[], None] | None = None,
    ) -> None:
        self._log = log_
        self._stream = stream
        self._handle = handle
        self._settings = settings
        self._filters = filters
        self._start = start or self._a_little_before_now
        self._rewound = rewound or _nothing
        self._seen: Recorded | None = None
        self._began_after = Sequence(0)
        self._created = ""
        self._consumer_sequence = 0
        self._heard = False
        self._broken = asyncio.Event()
        self._target: Sequence | None = None
        self.caught_up = asyncio.Event()
        """Set once all is handled that was in the log when following began; cleared while there is no consumer."""
        log_.on_reconnect(self._broken.set)

    @property
    def position(self) -> Sequence:
        """All at or below it that this follower is to see has been handled."""
        return self._seen.sequence if self._seen else self._began_after

    @property
    def has_begun(self) -> bool:
        """True if every event appended from now on will be handled."""
        return bool(self._created)

    @property
    def is_sound(self) -> bool:
        """True if what was handled is known to be in the log: not between a reconnect and the comparison after it."""
        return self.caught_up.is_set() and not self._broken.is_set()

    @property
    def began_after(self) -> Sequence:
        """Events up to this sequence were never delivered to this follower."""
        return self._began_after

    async def run(self) -> None:
        """Follows until it is cancelled. Waits and retries while the log is unavailable."""
        while True:
            try:
                await self._follow()
            except LogUnavailable as error:
                log.warning("follower-waits", stream=self._stream, reason=str(error))
                self.caught_up.clear()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        self._broken.clear()
        self._consumer_sequence = 0
        start = await self._where_to_start()
        end = await self._log.subscribe(self._stream, self, start=start, filters=self._filters)
        try:
            self._check_caught_up()
            await self._watch()
        finally:
            self.caught_up.clear()
            await end()

    async def _where_to_start(self) -> Sequence | datetime:
        position = await self._log.position(self._stream)
        unseen = (
            self._seen is None and self._created == position.created and self._began_after <= position.last
        )
        if self._created and await self._is_void(position):
            self._seen = None
            self._created = ""
            self._rewound()
        self._target = position.last
        if self._created:
            return Sequence(self.position + 1)
        start = await self._start()
        began_after = await self._sequence_before(start, position.last)
        if unseen and self._began_after < began_after:  # what came meanwhile is not passed over
            start = Sequence(self._began_after + 1)
        else:
            self._began_after = began_after
        self._created = position.created
        return start

    async def _is_void(self, position: Position) -> bool:
        """Returns True if the log is not the followed one, or if nothing was handled yet, so that it is unknown."""
        if self._seen is None:
            return True
        if self._created == position.created and await self._still_there(self._seen, position.last):
            return False
        log.error("log-rewound", stream=self._stream, sequence=self.position, last=position.last)
        return True

    async def _still_there(self, seen: Recorded, last: Sequence) -> bool:
        """Returns True if the log still has the last handled event at its sequence."""
        if last < seen.sequence:
            return False
        found = await self._log.at(self._stream, seen.sequence)
        if found is None:  # purged: a chat was deleted, or its age was up
            return True
        return found.data == seen.data and abs(found.time - seen.time) < _SAME_TIME

    async def _watch(self) -> None:
        """Returns when the consumer is no longer reliable."""
        patience = self._settings.follower_heartbeat_seconds * _SILENT_HEARTBEATS_MAX
        while True:
            self._heard = False
            try:
                async with asyncio.timeout(patience):
                    await self._broken.wait()
            except TimeoutError:
                if self._heard:
                    continue
                log.warning("follower-silent", stream=self._stream, sequence=self.position)
                return
            return

    # --- Subscriber -----------------------------------------------------------------

    def begin(self, pending: int) -> None:
        if pending == 0 and self._target is not None:
            self._target = min(self._target, self.position)

    def receive(self, recorded: Recorded, consumer_sequence: int) -> None:
        if self._broken.is_set():
            return
        self._heard = True
        if consumer_sequence != self._consumer_sequence + 1:
            log.warning("follower-gap", stream=self._stream, sequence=self.position)
            self._broken.set()
            return
        self._consumer_sequence = consumer_sequence
        if recorded.sequence > self.position:
            if isinstance(recorded.event, Unknown):
                reason = recorded.event.reason
                log.warning("unknown-event", stream=self._stream, sequence=recorded.sequence, reason=reason)
            try:
                self._handle(recorded)
            except Exception:
                # One event that its reader stumbles over must not take all streams with it, again at each start.
                log.exception("event-passed-over", stream=self._stream, sequence=recorded.sequence)
            self._seen = recorded
        self._check_caught_up()

    def heartbeat(self, last_consumer_sequence: int) -> None:
        self._heard = True
        if last_consumer_sequence > self._consumer_sequence:
            self._broken.set()
        else:  # idle: the consumer has delivered all that there is for it
            self._target = min(self._target or Sequence(0), self.position)
            self._check_caught_up()

    def _check_caught_up(self) -> None:
        if self._target is not None and self.position >= self._target and not self._broken.is_set():
            self.caught_up.set()

    # --- where to begin ----------------------------------------------------------------------------------

    async def _a_little_before_now(self) -> Sequence | datetime:
        """Returns the newest event's time, by the broker's clock, minus the overlap."""
        newest = await self._newest()
        if newest is None:
            return Sequence(1)
        return newest.time - timedelta(seconds=self._settings.follower_overlap_seconds)

    async def _sequence_before(self, start: Sequence | datetime, last: Sequence) -> Sequence:
        if not isinstance(start, datetime):
            return Sequence(start - 1)
        first = await self._log.first_since(self._stream, start)
        return Sequence(first - 1) if first else last

    async def _newest(self) -> Recorded | None:
        return await self._log.last(
            {subjects.CHATS: subjects.CHATS_SUBJECTS}.get(self._stream, subjects.TOKENS_SUBJECTS)
        )


def _nothing() -> None:
    pass
