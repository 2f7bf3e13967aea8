"""Metrics of the log in every process, metrics that are cheap enough for every token, and access to `/metrics`.

The counters of prometheus_client take a lock at every step: a microsecond, and four for a histogram. Events that
occur once per token are counted in plain numbers by the loop's thread, and converted at a scrape.
"""

import hmac
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from shared.domain.errors import LogFull, LogUnavailable, SequenceConflict
from shared.domain.subjects import stream_of
from shared.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class Tally(Collector):
    """A counter without labels. Only the loop's thread adds to `count`. It lives as long as the process."""

    def __init__(self, name: str, documentation: str) -> None:
        self.count = 0
        self._described = (name, documentation)
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(*self._described, value=self.count)


class Latencies(Collector):
    """A histogram of seconds with one label that has few values. It lives as long as the process."""

    def __init__(self, name: str, documentation: str, label: str, bounds: Iterable[float]) -> None:
        self._bounds = tuple(bounds)
        self._described = (name, documentation)
        self._label = label
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        REGISTRY.register(self)

    def observe(self, value: str, seconds: float) -> None:
        """Adds one observation for this value of the label."""
        counts = self._counts.get(value)
        if counts is None:
            counts = self._counts[value] = [0] * (len(self._bounds) + 1)
            self._sums[value] = 0.0
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[value] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(*self._described, labels=[self._label])
        for value, counts in list(self._counts.items()):
            upper = [*map(str, self._bounds), "+Inf"]
            running = [sum(counts[: at + 1]) for at in range(len(counts))]
            family.add_metric([value], list(zip(upper, running, strict=True)), self._sums[value])
        yield family


_APPENDS = Latencies(
    "unspool_append_seconds",
    "Seconds from an append to the log's response, successful or not.",
    "stream",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
_NOT_STORED = Counter(
    "unspool_appends_not_stored",
    "Appends that the log rejected (conflict, full) or did not acknowledge (unavailable).",
    ["stream", "reason"],
)
LOG_CONNECTED = Gauge(
    "unspool_log_connected", "1 while both connections of this process to the log are open."
)
_REASONS: dict[type[Exception], str] = {
    SequenceConflict: "conflict",
    LogFull: "full",
    LogUnavailable: "unavailable",
}
for _stream in ("chats", "tokens"):  # Create the series at 0, so that `rate` sees the first increment.
    for _reason in _REASONS.values():
        _NOT_STORED.labels(_stream, _reason)


def append(publish: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Measures a method whose first argument is a subject; the subject determines the stream's label."""

    @wraps(publish)
    async def publish_measured(*args: P.args, **named: P.kwargs) -> R:
        stream = stream_of(str(args[1])).lower()
        began = time.perf_counter()
        try:
            return await publish(*args, **named)
        except tuple(_REASONS) as error:
            _NOT_STORED.labels(stream, _REASONS[type(error)]).inc()
            raise
        finally:
            _APPENDS.observe(stream, time.perf_counter() - began)

    return publish_measured


def may_scrape(settings: Settings, authorization: str) -> bool:
    """Returns True if no key is set, or if the request carries `metrics_key` or `api_key` as a bearer token.

    Metrics contain no content, but they reveal the usage of models.
    """
    keys = [key for key in (settings.metrics_key, settings.api_key) if key]
    scheme, _, given = authorization.partition(" ")
    fits = [hmac.compare_digest(given.encode(), key.encode()) for key in keys]
    return not keys or (scheme.lower() == "bearer" and any(fits))
