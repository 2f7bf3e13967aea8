"""The load client: `python -m tests.bench.load`. It reads a plan from each line of its input and prints its outcome."""

import asyncio
import gc
import resource
import sys
from array import array

import msgspec
import uvloop

from tests.bench.connection import CallFailedError, Connection
from tests.bench.dialects import DIALECTS, Dialect, Reader
from tests.bench.plans import Answers, Idle, Outcome, Plan, Release, Resume, Watch
from tests.bench.tokens import clock, elapsed_steps, later, milliseconds
from tests.bench.watching import Holder, percentiles, resume, watch

ERRORS_SHOWN = 3
RECONNECTS_MAX = 200
RECONNECT_SECONDS = 0.1
PLAN_MAX_BYTES = 1024**2


class AnswersRun:
    """One run of `Answers`."""

    def __init__(self, plan: Answers) -> None:
        self._plan = plan
        self._dialect: Dialect = DIALECTS[plan.dialect]
        self._latencies = array("q")
        self._first_tokens: list[int] = []
        self._errors: list[str] = []
        self._complete = self._tokens = 0
        self._begin = self._last_accepted = self._last_token = 0

    async def run(self) -> Outcome:
        """Opens all connections, then begins. Returns when every answer has ended or is lost."""
        plan = self._plan
        urls = [plan.urls[number % len(plan.urls)] for number in range(plan.clients)]
        connections = [await Connection.open(url) for url in urls]
        self._begin = self._last_accepted = self._last_token = clock()
        between = plan.spread_seconds / plan.clients
        await asyncio.gather(
            *(
                self._run_client(at * between, *one)
                for at, one in enumerate(zip(urls, connections, strict=True))
            )
        )
        return Outcome(
            answers=plan.clients * plan.answers_each,
            complete=self._complete,
            tokens=self._tokens,
            seconds=milliseconds(elapsed_steps(self._begin, self._last_token)) / 1000,
            asking_seconds=milliseconds(elapsed_steps(self._begin, self._last_accepted)) / 1000,
            first_token=percentiles(self._first_tokens),
            latency=percentiles(self._latencies),
            errors=tuple(self._errors[:ERRORS_SHOWN]),
        )

    async def _run_client(self, delay_seconds: float, url: str, connection: Connection) -> None:
        await asyncio.sleep(delay_seconds)
        for _ in range(self._plan.answers_each):
            begin = clock()
            reader = self._dialect.reader(self._plan.model, self._latencies)
            try:
                async with asyncio.timeout(self._plan.silence_seconds):
                    if connection.is_closing:
                        connection = await Connection.open(url)
                    connection = await self._answer(url, connection, reader)
            except (CallFailedError, TimeoutError, OSError) as error:
                self._errors.append(str(error) or reader.error)
                connection.close()
            self._count(reader, begin)
        connection.close()

    async def _answer(self, url: str, connection: Connection, reader: Reader) -> Connection:
        """Reads one answer. Returns the connection to use afterwards: a new one if the old one broke."""
        if not self._plan.resume:
            await self._dialect.answer(connection, self._plan.model, reader)
            return connection
        path = await self._dialect.start(connection, self._plan.model)
        reader.accepted_at = clock()
        for _ in range(RECONNECTS_MAX):
            try:
                reader.start_again()
                await self._dialect.resume(connection, path, reader)
            except (CallFailedError, OSError):
                pass
            if reader.is_done:
                break
            connection.close()
            await asyncio.sleep(RECONNECT_SECONDS)
            try:
                connection = await Connection.open(url)
            except OSError:
                continue
        return connection

    def _count(self, reader: Reader, begin: int) -> None:
        received = reader.received
        if error := reader.error:
            self._errors.append(error)
        else:
            self._complete += 1
        self._tokens += received.tokens
        if received.first_at is not None:
            self._first_tokens.append(elapsed_steps(begin, received.first_at))
            self._last_token = later(self._last_token, received.last_at)
        if reader.accepted_at is not None:
            self._last_accepted = later(self._last_accepted, reader.accepted_at)


async def run(plan: Plan, holder: Holder) -> Outcome:
    match plan:
        case Answers():
            return await AnswersRun(plan).run()
        case Watch():
            return await watch(plan)
        case Resume():
            return await resume(plan)
        case Idle():
            return await holder.hold(plan)
        case Release():
            return await holder.release()


async def main() -> None:
    loop = asyncio.get_running_loop()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    lines = asyncio.StreamReader(limit=PLAN_MAX_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    decode = msgspec.json.Decoder(Plan).decode
    holder = Holder()
    gc.freeze()
    gc.disable()  # a collection in the middle of a plan would be measured as the latency of the target
    while line := await lines.readline():
        outcome = await run(decode(line), holder)
        print(msgspec.json.encode(outcome).decode(), flush=True)
        gc.collect()


if __name__ == "__main__":
    uvloop.run(main())
