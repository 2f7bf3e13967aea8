"""Plans of the load client with watchers: many of one answer, late ones, and idle ones."""

import asyncio
import contextlib
from array import array
from collections.abc import Iterable

from tests.bench.connection import CallFailedError, Connection
from tests.bench.dialects import DIALECTS, Dialect, Reader
from tests.bench.plans import Idle, Outcome, Percentiles, Resume, Watch
from tests.bench.tokens import clock, elapsed_steps, later, milliseconds

ERRORS_SHOWN = 3
CATCH_UP_SECONDS = 10.0
OPEN_AT_ONCE = 100
"""Connections that are being opened at the same time: more fill the backlog of a server."""


def percentiles(steps: Iterable[int]) -> Percentiles:
    """Returns the percentiles of times in steps of the clock."""
    if not (ordered := sorted(steps)):
        return Percentiles()
    last = len(ordered) - 1
    at = [milliseconds(ordered[min(last, len(ordered) * share // 100)]) for share in (50, 99, 100)]
    return Percentiles(p50=at[0], p99=at[1], max=at[2])


async def watch(plan: Watch) -> Outcome:
    """Returns when every watcher has the whole answer or is lost. The rate is that between first and last token."""
    dialect = DIALECTS[plan.dialect]
    latencies = array("q")
    asking = await Connection.open(plan.urls[0])
    path = await dialect.start(asking, plan.model)
    asking.close()
    readers = [dialect.reader(plan.model, latencies, late=True) for _ in range(plan.watchers)]
    gate = asyncio.Semaphore(OPEN_AT_ONCE)

    async def read(number: int, reader: Reader) -> None:
        with contextlib.suppress(CallFailedError, OSError, TimeoutError):
            async with gate:
                connection = await Connection.open(plan.urls[number % len(plan.urls)])
            with contextlib.closing(connection):
                async with asyncio.timeout(plan.silence_seconds):
                    await dialect.resume(connection, path, reader)

    await asyncio.gather(*(read(*one) for one in enumerate(readers)))
    errors = [reader.error for reader in readers if reader.error]
    got = [reader.received for reader in readers if reader.received.first_at is not None]
    begin = end = got[0].last_at if got else 0
    for received in got:
        begin = _earlier(begin, received.first_at or begin)
        end = later(end, received.last_at)
    return Outcome(
        answers=plan.watchers,
        complete=plan.watchers - len(errors),
        tokens=sum(received.tokens for received in got),
        seconds=milliseconds(elapsed_steps(begin, end)) / 1000,
        latency=percentiles(latencies),
        errors=tuple(errors[:ERRORS_SHOWN]),
    )


def _earlier(one: int, other: int) -> int:
    return one if elapsed_steps(one, other) > 0 else other


class _Trail:
    """The reader that stays, and the cursors that it had."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._seen: list[tuple[int, str]] = []
        self._changed = asyncio.Event()

    def feed(self, data: bytes, now: int) -> None:
        self.reader.feed(data, now)
        self._seen.append((self.reader.received.tokens, self.reader.cursor))
        self._changed.set()

    async def wait_for(self, tokens: int) -> None:
        """Returns when so many tokens were received."""
        while self.reader.received.tokens < tokens:
            self._changed.clear()
            await self._changed.wait()

    def before(self, tokens: int) -> tuple[int, str]:
        """Returns the newest position with at most so many tokens."""
        return next(one for one in reversed(self._seen) if one[0] <= tokens and one[1])


async def resume(plan: Resume) -> Outcome:
    """Returns how long it takes until one who comes back has what they missed."""
    dialect = DIALECTS[plan.dialect]
    asking = await Connection.open(plan.urls[0])
    path = await dialect.start(asking, plan.model)
    trail = _Trail(dialect.reader(plan.model, array("q")))
    staying = asyncio.create_task(dialect.stream_to(asking, path, "", trail.feed))
    times: list[int] = []
    try:
        async with asyncio.timeout(CATCH_UP_SECONDS):
            await trail.wait_for(plan.missed + 50)
        for number in range(plan.times):
            if trail.reader.is_done:
                break
            url = plan.urls[number % len(plan.urls)]
            times.append(await _catch_up(dialect, url, path, trail, plan))
            await asyncio.sleep(plan.pause_seconds)
        await staying
    finally:
        staying.cancel()
        asking.close()
    wrong = trail.reader.error
    return Outcome(
        answers=len(times),
        complete=0 if wrong else len(times),
        tokens=trail.reader.received.tokens,
        catch_up=percentiles(times),
        errors=(wrong,) if wrong else (),
    )


async def _catch_up(dialect: Dialect, url: str, path: str, trail: _Trail, plan: Resume) -> int:
    goal = trail.reader.received.tokens
    tokens, cursor = trail.before(goal - plan.missed)
    reader = dialect.reader(plan.model, array("q"))
    reader.received.tokens = tokens
    caught_up: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def feed(data: bytes, now: int) -> None:
        reader.feed(data, now)
        if reader.received.tokens >= goal and not caught_up.done():
            caught_up.set_result(now)

    begin = clock()
    with contextlib.closing(await Connection.open(url)) as connection:
        reading = asyncio.create_task(dialect.stream_to(connection, path, cursor, feed))
        async with asyncio.timeout(CATCH_UP_SECONDS):
            end = await caught_up
        reading.cancel()
    if reader.received.wrong:
        raise CallFailedError(reader.received.wrong)
    return elapsed_steps(begin, end)


class Holder:
    """Holds the connections of idle watchers."""

    def __init__(self) -> None:
        self._connections: list[Connection] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def hold(self, plan: Idle) -> Outcome:
        """Returns when each watcher's stream is open and has the answer's first token."""
        dialect = DIALECTS[plan.dialect]
        path = ""
        if plan.shared:
            self._connections.append(await Connection.open(plan.urls[0]))
            path = await dialect.start(self._connections[0], plan.model)
        gate = asyncio.Semaphore(OPEN_AT_ONCE)
        opened = [asyncio.get_running_loop().create_future() for _ in range(plan.watchers)]

        async def read(number: int, first: asyncio.Future[int]) -> None:
            reader = dialect.reader(plan.model, array("q"))

            def feed(data: bytes, now: int) -> None:
                reader.feed(data, now)
                if reader.received.tokens and not first.done():
                    first.set_result(now)

            async with gate:
                connection = await Connection.open(plan.urls[number % len(plan.urls)])
            self._connections.append(connection)
            with contextlib.suppress(CallFailedError):
                if path:
                    await dialect.stream_to(connection, path, "", feed)
                else:
                    await dialect.ask_to(connection, plan.model, feed)

        self._tasks = [asyncio.create_task(read(*one)) for one in enumerate(opened)]
        await asyncio.wait(opened, timeout=plan.silence_seconds)
        return Outcome(answers=plan.watchers, complete=sum(first.done() for first in opened))

    async def release(self) -> Outcome:
        """Closes all connections."""
        for connection in self._connections:
            connection.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._connections, self._tasks = [], []
        return Outcome()
