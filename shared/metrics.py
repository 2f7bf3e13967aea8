"""What is measured of the log in every process, measures that are cheap enough for each token, and who may see them.

The library's own counters take a lock at every step: a microsecond, and four for a histogram. What passes once per
token is counted in plain numbers of the loop's one thread, and put into form only when somebody scrapes.
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
from shared.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class Tally(Collector):
    """A counter without labels. `count` is added to where things happen, by the loop's thread alone."""

    def __init__(self, name: str, documentation: str) -> None:
        self.count = 0
        self._described = (name, documentation)
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(*self._described, value=self.count)


class Latencies(Collector):
    """A histogram of seconds with one label, of which there are few values."""

    def __init__(self, name: str, documentation: str, label: str, bounds: Iterable[float]) -> None:
        self._bounds = tuple(bounds)
        self._described = (name, documentation)
        self._label = label
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        REGISTRY.register(self)

    def observe(self, value: str, seconds: float) -> None:
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
    "From an append to the log's word on it, stored or not.",
    "stream",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
_NOT_STORED = Counter(
    "unspool_appends_not_stored",
    "Appends that the log refused (conflict, full) or did not answer (unavailable).",
    ["stream", "reason"],
)
LOG_CONNECTED = Gauge("unspool_log_connected", "1 while this process has both its connections to the log.")
_REASONS: dict[type[Exception], str] = {
    SequenceConflict: "conflict",
    LogFull: "full",
    LogUnavailable: "unavailable",
}
for _stream in ("chats", "tokens"):  # there from the start: a rate needs a zero to rise from
    for _reason in _REASONS.values():
        _NOT_STORED.labels(_stream, _reason)


def append(publish: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """For a method whose first argument is a subject; its stream is told by the subject's first part."""

    @wraps(publish)
    async def measured(*args: P.args, **named: P.kwargs) -> R:
        stream = str(args[1]).partition(".")[0]
        began = time.perf_counter()
        try:
            return await publish(*args, **named)
        except tuple(_REASONS) as error:
            _NOT_STORED.labels(stream, _REASONS[type(error)]).inc()
            raise
        finally:
            _APPENDS.observe(stream, time.perf_counter() - began)

    return measured


def may_scrape(settings: Settings, authorization: str) -> bool:
    """Numbers tell no content, but how much is asked of whom. So where there is a key, a scraper needs one too:

    `metrics_key`, which opens nothing else, or the API's own.
    """
    keys = [key for key in (settings.metrics_key, settings.api_key) if key]
    scheme, _, given = authorization.partition(" ")
    fits = [hmac.compare_digest(given.encode(), key.encode()) for key in keys]
    return not keys or (scheme.lower() == "bearer" and any(fits))
