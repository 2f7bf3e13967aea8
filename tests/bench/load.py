"""Many answers at a time, each with its reader: `python -m tests.bench.load [ANSWERS]`.

Prints the time from a question to its first token, how far tokens fall behind the provider's pace, and the
processor time that each service spends on a token; the ratio is of readers' and writers' share.
"""

import asyncio
import contextlib
import sys
import time

import httpx
import psutil
from msgspec import Struct

from tests.support.reader import Reader, at_index
from tests.support.servers import NatsProcess, PostgresProcess, temporary_data
from tests.support.system import Client, System

ANSWERS = 100
TOKENS, PACE_MILLISECONDS = 200, 20


class Times(Struct):
    first_token_seconds: float
    whole_seconds: float
    tokens: int


async def main(answers: int) -> None:
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(temporary_data())
        nats = await stack.enter_async_context(NatsProcess(directory / "nats"))
        postgres = await stack.enter_async_context(PostgresProcess(directory / "postgres"))
        system = System(nats.url, postgres.url, directory, titles=False)
        await measure(await stack.enter_async_context(system), answers)


async def measure(system: System, answers: int) -> None:
    processes = {"api": system.apis[0], "generator": system.generators[0]}
    watched = {name: psutil.Process(one._process.pid) for name, one in processes.items() if one._process}
    before = {name: cpu(process) for name, process in watched.items()}
    async with system.client(limits=httpx.Limits(max_connections=answers * 2)) as client:
        times = await asyncio.gather(*(one(client) for _ in range(answers)))
    spent = {name: cpu(process) - before[name] for name, process in watched.items()}
    tokens = sum(each.tokens for each in times)
    firsts = sorted(each.first_token_seconds for each in times)
    late = sorted(each.whole_seconds - TOKENS * PACE_MILLISECONDS / 1000 for each in times)
    print(f"{answers} answers at a time, {tokens} token events")
    print(
        f"first token        p50 {firsts[len(firsts) // 2] * 1000:7.1f} ms   max {firsts[-1] * 1000:7.1f} ms"
    )
    print(f"behind the pace    p50 {late[len(late) // 2] * 1000:7.1f} ms   max {late[-1] * 1000:7.1f} ms")
    for name, seconds in spent.items():
        memory = watched[name].memory_info().rss / 2**20
        print(f"{name:18} {seconds / tokens * 1e6:7.1f} µs of processor time a token event, {memory:.0f} MiB")
    print(f"ratio api / generator: {spent['api'] / spent['generator']:.2f}")


async def one(client: Client) -> Times:
    began = time.perf_counter()
    asked = await client.ask_new_chat(f"demo/{TOKENS}x{PACE_MILLISECONDS}ms")
    reader = await Reader().read(client, asked["answer"], until=at_index(1))
    first = time.perf_counter() - began
    await reader.read(client, asked["answer"])
    return Times(first, time.perf_counter() - began, reader.last_index)


def cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ANSWERS))
