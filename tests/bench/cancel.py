"""From the call of `cancel` to the provider's closed socket: `python -m tests.bench.cancel [RUNS]`.

In the same run, for the ratio: the bare round trip of a call that reads the answer.
"""

import asyncio
import sys
import time

from tests.support.provider_scripts import Step, openai_events, stream
from tests.support.reader import Reader, at_index
from tests.support.scripted_provider import ScriptedProvider
from tests.support.servers import NatsProcess, PostgresProcess, temporary_data
from tests.support.system import System

CONFIG = '[providers.p]\nkind = "openai"\nbase_url = "{url}"\nmodels = ["m"]\n'
RUNS = 200


async def main(runs: int) -> None:
    with temporary_data() as directory:
        async with (
            ScriptedProvider(
                lambda _: stream(*openai_events("x", finish_reason=None, done=False), Step.STALL)
            ) as provider,
            NatsProcess(directory / "nats") as nats,
            PostgresProcess(directory / "postgres") as postgres,
        ):
            config = directory / "bench.toml"
            config.write_text(CONFIG.format(url=provider.base_url))
            async with System(nats.url, postgres.url, directory, config=config) as system:
                await measure(system, provider, runs)


async def measure(system: System, provider: ScriptedProvider, runs: int) -> None:
    cancels, reads = [], []
    loop = asyncio.get_running_loop()
    async with system.client() as client:
        for run in range(1, runs + 1):
            asked = await client.ask_new_chat("p/m")
            exchange = await provider.wait_requests(run)
            await Reader().read(client, asked["answer"], until=at_index(1))
            before = time.perf_counter()
            await client.answer(asked["answer"])
            reads.append(time.perf_counter() - before)
            called = loop.time()
            await client.http.post(f"/v1/answers/{asked['answer']}/cancel")
            await exchange.gone.wait()
            assert exchange.gone_at is not None
            cancels.append(exchange.gone_at - called)
    show("cancel to closed socket", cancels)
    show("a call that reads", reads)
    print(f"ratio of the medians: {sorted(cancels)[runs // 2] / sorted(reads)[runs // 2]:.1f}")


def show(name: str, seconds: list[float]) -> None:
    ordered = sorted(seconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    print(f"{name:24} p50 {p50 * 1000:6.1f} ms   p99 {p99 * 1000:6.1f} ms   max {ordered[-1] * 1000:6.1f} ms")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
