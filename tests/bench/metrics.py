"""Measures the cost of metrics where each token passes: `python -m tests.bench.metrics`. Microseconds, best of five."""

import asyncio
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from services.api import metrics as api
from services.api.http.request_metrics import RequestMetrics
from services.api.streaming.answer_times import AnswerTimes
from shared.domain.events import TokenEmitted, encode
from shared.domain.subjects import Attempt, Index, Sequence
from shared.log.recorded import record
from shared.metrics import append

STEPS = 100_000


class Log:
    async def bare(self, subject: str) -> str:
        return subject

    measured = append(bare)


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})
    message = {"type": "http.response.body", "more_body": True}
    for _ in range(STEPS):
        await send(message)


async def do_nothing(*_: Any) -> Any: ...


def tell(name: str, run: Callable[[], Any]) -> None:
    best = min(timeit.repeat(run, number=1, repeat=5)) / STEPS * 1e6
    print(f"{name:<58} {best:6.3f} us")


def steps(step: Callable[[], Any]) -> Callable[[], None]:
    def run() -> None:
        for _ in range(STEPS):
            step()

    return run


def appends(call: Callable[[str], Any]) -> Callable[[], None]:
    async def run() -> None:
        for _ in range(STEPS):
            await call("tokens.c.a")

    return lambda: asyncio.run(run())


def main() -> None:
    log, times = Log(), AnswerTimes()
    token = encode(TokenEmitted(attempt=Attempt(1), index=Index(57), text="word "))
    stored = record("tokens.c.c_a1", Sequence(9), datetime.now(UTC), token)
    tell("append, bare", appends(log.bare))
    tell("append, measured", appends(log.measured))
    tell("API: one token followed (AnswerTimes)", steps(lambda: times.follow_tokens(stored)))
    tell("API: one write to one watcher (wrote)", steps(lambda: api.count_write(1, 60)))
    scope = {"type": "http", "method": "GET"}
    tell("API: one write of a stream, bare", lambda: asyncio.run(app(scope, do_nothing, do_nothing)))
    middleware = RequestMetrics(app)
    tell(
        "API: one write of a stream, through the middleware",
        lambda: asyncio.run(middleware(scope, do_nothing, do_nothing)),
    )


if __name__ == "__main__":
    main()
