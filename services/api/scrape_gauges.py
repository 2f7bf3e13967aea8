"""Gauges that are read from the log and Postgres at a scrape: lags and the queue.

There is at most one read per second, however many scrapers there are, and each read has a timeout: an unavailable
broker never delays a scrape. A value that cannot be read is `NaN`, never a stale value.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from services.api import metrics
from services.api.read_model.projector import Projector
from services.api.read_model.queries import ReadModelUnavailable, Reads
from services.api.streaming.hot_log import HotLog
from services.api.streaming.streams import Streams
from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence
from shared.log.follower import Follower
from shared.log.protocol import Log
from shared.log.queue import Queue
from shared.metrics import LOG_CONNECTED
from shared.settings import Settings

_INTERVAL_SECONDS = 1.0
_TIMEOUT_SECONDS = 1.0


class ScrapeGauges:
    """Sets the gauges of one API process. The app creates it; it owns none of its arguments."""

    def __init__(
        self,
        settings: Settings,
        *,
        log_: Log,
        reads: Reads,
        projector: Projector | None,
        hot_log: HotLog,
        streams: Streams,
        followers: dict[str, Follower],
    ) -> None:
        self._log = log_
        self._reads = reads
        self._projector = projector
        self._hot_log = hot_log
        self._streams = streams
        self._followers = followers
        self._lock = asyncio.Lock()
        self._refreshed_at = -_INTERVAL_SECONDS
        metrics.HOT_BYTES_MAX.set(settings.hot_log_max_bytes)

    async def refresh(self) -> None:
        """Reads all values, unless they are less than a second old. Never raises if a server is unavailable."""
        self._set_process_gauges()
        async with self._lock:
            if time.monotonic() - self._refreshed_at < _INTERVAL_SECONDS:
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(_read_within_limit("queue", self._read_queue, _clear_queue))
                group.create_task(_read_within_limit("lags", self._read_lags, self._clear_lags))
            self._refreshed_at = time.monotonic()

    def _set_process_gauges(self) -> None:
        metrics.WATCHERS.set(self._streams.open_count)
        metrics.HOT_BYTES.set(self._hot_log.size_bytes)
        metrics.HOT_ANSWERS.set(len(self._hot_log))
        LOG_CONNECTED.set(self._log.connected)
        for stream, follower in self._followers.items():
            metrics.FOLLOWER_CAUGHT_UP.labels(stream).set(follower.caught_up.is_set())
        if self._projector is not None:
            metrics.set_projector_state(self._projector.state)

    async def _read_lags(self) -> None:
        last: dict[str, Sequence] = {}
        for stream, follower in self._followers.items():
            last[stream] = (await self._log.position(stream)).last
            metrics.FOLLOWER_LAG.labels(stream).set(max(0, last[stream] - follower.position))
        folded = await self._reads.position()
        metrics.PROJECTION_LAG.set(max(0, last[subjects.CHATS] - folded))

    def _clear_lags(self) -> None:
        metrics.PROJECTION_LAG.set(math.nan)
        for stream in self._followers:
            metrics.FOLLOWER_LAG.labels(stream).set(math.nan)

    async def _read_queue(self) -> None:
        queue = await self._log.queue(subjects.GENERATORS)
        metrics.QUEUE_WAITING.set(queue.num_pending)
        metrics.QUEUE_IN_HAND.set(queue.num_ack_pending)
        metrics.QUEUE_PULLS.set(queue.num_waiting)
        metrics.QUEUE_AGE.set(await self._read_age(queue) if queue.num_pending else 0.0)

    async def _read_age(self, queue: Queue) -> float:
        """Returns the age of the oldest pending request in seconds, by the broker's clock."""
        after = Sequence(queue.delivered + 1)
        oldest = [await self._log.next(subject, after) for subject in subjects.REQUESTS]
        times = [stored.time for stored in oldest if stored is not None]
        if not times or queue.time is None:
            return 0.0
        return max(0.0, (queue.time - min(times)).total_seconds())


async def _read_within_limit(
    name: str, read: Callable[[], Awaitable[None]], clear: Callable[[], None]
) -> None:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await read()
    except (LogUnavailable, ReadModelUnavailable, TimeoutError):
        metrics.POLLS_FAILED.labels(name).inc()
        clear()


def _clear_queue() -> None:
    for gauge in (metrics.QUEUE_WAITING, metrics.QUEUE_IN_HAND, metrics.QUEUE_PULLS, metrics.QUEUE_AGE):
        gauge.set(math.nan)
