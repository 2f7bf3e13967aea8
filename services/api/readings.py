"""What a scrape asks of the log and of Postgres: how far others are, and how the queue stands.

At most one poll a second, however many scrape, and each part has a bound in time: a broker that is away makes a
scrape poorer, never late. What could not be read is `NaN`, and not what it was before.
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
from shared.log.event_log import EventLog
from shared.log.follower import Follower
from shared.log.queue import Queue
from shared.metrics import LOG_CONNECTED
from shared.settings import Settings

_EVERY_SECONDS = 1.0
_PART_SECONDS = 1.0


class Readings:
    def __init__(
        self,
        settings: Settings,
        *,
        log_: EventLog,
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
        self._one = asyncio.Lock()
        self._taken = -_EVERY_SECONDS
        metrics.HOT_BYTES_MAX.set(settings.hot_log_max_bytes)

    async def take(self) -> None:
        """Never raises for what does not answer."""
        self._of_this_process()
        async with self._one:
            if time.monotonic() - self._taken < _EVERY_SECONDS:
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(_bounded("queue", self._queue, _no_queue))
                group.create_task(_bounded("lags", self._lags, self._no_lags))
            self._taken = time.monotonic()

    def _of_this_process(self) -> None:
        metrics.WATCHERS.set(self._streams.open_count)
        metrics.HOT_BYTES.set(self._hot_log.size_bytes)
        metrics.HOT_ANSWERS.set(len(self._hot_log))
        LOG_CONNECTED.set(self._log.connected)
        for stream, follower in self._followers.items():
            metrics.FOLLOWER_CAUGHT_UP.labels(stream).set(follower.caught_up.is_set())
        if self._projector is not None:
            metrics.projector_is(self._projector.state)

    async def _lags(self) -> None:
        last: dict[str, Sequence] = {}
        for stream, follower in self._followers.items():
            last[stream] = (await self._log.position(stream)).last
            metrics.FOLLOWER_LAG.labels(stream).set(max(0, last[stream] - follower.position))
        folded = await self._reads.position()
        metrics.PROJECTION_LAG.set(max(0, last[subjects.CHATS] - folded))

    def _no_lags(self) -> None:
        metrics.PROJECTION_LAG.set(math.nan)
        for stream in self._followers:
            metrics.FOLLOWER_LAG.labels(stream).set(math.nan)

    async def _queue(self) -> None:
        queue = await self._log.queue(subjects.GENERATORS)
        metrics.QUEUE_WAITING.set(queue.waiting)
        metrics.QUEUE_IN_HAND.set(queue.in_hand)
        metrics.QUEUE_PULLS.set(queue.pulls)
        metrics.QUEUE_AGE.set(await self._age(queue) if queue.waiting else 0.0)

    async def _age(self, queue: Queue) -> float:
        """By the broker's clock."""
        after = Sequence(queue.delivered + 1)
        oldest = [await self._log.next(subject, after) for subject in subjects.REQUESTS]
        times = [stored.time for stored in oldest if stored is not None]
        if not times or queue.time is None:
            return 0.0
        return max(0.0, (queue.time - min(times)).total_seconds())


async def _bounded(name: str, read: Callable[[], Awaitable[None]], failed: Callable[[], None]) -> None:
    try:
        async with asyncio.timeout(_PART_SECONDS):
            await read()
    except (LogUnavailable, ReadModelUnavailable, TimeoutError):
        metrics.POLLS_FAILED.labels(name).inc()
        failed()


def _no_queue() -> None:
    for gauge in (metrics.QUEUE_WAITING, metrics.QUEUE_IN_HAND, metrics.QUEUE_PULLS, metrics.QUEUE_AGE):
        gauge.set(math.nan)
