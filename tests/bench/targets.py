"""The systems that are measured. Each runs its own server processes, and says where their processor time goes."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from infra.chaos.fleet import Fleet, ServerProcess, free_port
from infra.local.data_directory import DataDirectory
from infra.local.nats_server import NatsServer
from infra.local.postgres_server import PostgresServer
from infra.local.processes import Program
from tests.bench.processes import ChildProcess, memory_bytes, module_command, processor_seconds
from tests.support.system import System

REDIS_SERVER = "redis-server"
QUIET_SHARE = 0.1
"""A target is at rest when its processes use less of one processor than this."""
QUIET_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running system."""

    name: str
    urls: tuple[str, ...]
    pids: Callable[[], Mapping[str, Sequence[int]]] = dict
    """Returns the pids of the server processes, by their kind."""
    restart: Callable[[], Awaitable[None]] | None = None
    """Kills the API and the worker with SIGKILL and starts them again."""
    monitor_url: str = ""
    """The address of NATS' monitoring, if there is a NATS."""

    def processor_seconds(self) -> dict[str, float]:
        """Returns the processor time so far of each kind of process."""
        return {name: sum(map(processor_seconds, pids)) for name, pids in self.pids().items()}

    def api_memory_bytes(self) -> int:
        """Returns the memory of all API processes."""
        return sum(map(memory_bytes, self.pids().get("api", ())))

    async def nats_messages(self) -> int:
        """Returns the number of messages that NATS received and sent so far; 0 without a NATS."""
        if not self.monitor_url:
            return 0
        async with httpx.AsyncClient() as client:
            counted = (await client.get(f"{self.monitor_url}/varz")).json()
        return int(counted["in_msgs"]) + int(counted["out_msgs"])

    async def settle(self, seconds: float) -> None:
        """Returns when the processes are at rest, or after the given time: work of one case must not count in another."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                before = sum(self.processor_seconds().values())
                while self.pids():
                    await asyncio.sleep(QUIET_SECONDS)
                    now = sum(self.processor_seconds().values())
                    if now - before < QUIET_SHARE * QUIET_SECONDS:
                        return
                    before = now


class MonitoredNats(NatsServer):
    """The embedded NATS as `unspool up` runs it, with its monitoring port."""

    monitor_port = 0

    async def prepare(self) -> Program:
        program = await super().prepare()
        self.monitor_port = free_port()
        return replace(program, argv=(*program.argv, "-m", str(self.monitor_port)))


@contextlib.asynccontextmanager
async def run_direct(provider_url: str) -> AsyncIterator[Target]:
    """Yields the provider as a target: the latency and the limit of the tool itself."""
    yield Target(name="direct", urls=(provider_url,))


@contextlib.asynccontextmanager
async def run_unspool(
    directory: Path,
    provider_url: str,
    models: Sequence[str],
    *,
    apis: int = 1,
    generators: int = 1,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Target]:
    """Runs the product: NATS, a durable Postgres, APIs and generators, configured as `unspool up` does, without titles."""
    data = DataDirectory(directory / "unspool")
    data.make()
    config = directory / "bench.toml"
    listed = ", ".join(f'"{model}"' for model in models)
    config.write_text(
        f'[providers.bench]\nkind = "openai"\nbase_url = "{provider_url}/v1"\nmodels = [{listed}]\n'
    )
    given = {"titles": "false"} | dict(settings or {})
    nats_server = MonitoredNats(data)
    async with (
        ServerProcess(nats_server) as nats,
        ServerProcess(PostgresServer(data)) as postgres,
        System(
            nats.url, postgres.url, directory, apis=apis, generators=generators, config=config, **given
        ) as system,
    ):
        yield Target(
            name="unspool",
            urls=tuple(system.urls),
            pids=lambda: {
                "api": [api.process.pid for api in system.apis],
                "generator": [generator.process.pid for generator in system.generators],
                "nats": [nats.process.pid],
                "postgres": [postgres.process.pid],
            },
            restart=lambda: _restart_fleet(system),
            monitor_url=f"http://127.0.0.1:{nats_server.monitor_port}",
        )


async def _restart_fleet(fleet: Fleet) -> None:
    members = (*fleet.apis, *fleet.generators)
    await asyncio.gather(*(member.kill() for member in members))
    await asyncio.gather(*(member.start() for member in members))
    for number in range(len(fleet.apis)):
        await fleet.wait_until_ready(number)
    for number in range(len(fleet.generators)):
        await fleet.wait_until_generator_ready(number)


@contextlib.asynccontextmanager
async def run_proxy(directory: Path, provider_url: str) -> AsyncIterator[Target]:
    """Runs baseline (a)."""
    port = free_port()
    command = module_command("tests.bench.baselines.proxy", str(port), provider_url)
    async with ChildProcess(*command, log=directory / "proxy.log") as api:
        await api.wait_for_port(port)

        async def restart() -> None:
            await api.kill()
            await api.start()
            await api.wait_for_port(port)

        yield Target(
            name="proxy",
            urls=(f"http://127.0.0.1:{port}",),
            pids=lambda: {"api": [api.pid]},
            restart=restart,
        )


def has_redis() -> bool:
    """Returns True if `redis-server` is installed."""
    return shutil.which(REDIS_SERVER) is not None


@contextlib.asynccontextmanager
async def run_redis(directory: Path, provider_url: str) -> AsyncIterator[Target]:
    """Runs baseline (b): Redis with an append-only file that is synced every second, an API and a worker."""
    redis_port, port = free_port(), free_port()
    url = f"redis://127.0.0.1:{redis_port}"
    worker_command = module_command("tests.bench.baselines.redis_worker", url, provider_url)
    api_command = module_command("tests.bench.baselines.redis_api", str(port), url)
    async with ChildProcess(*_redis_command(redis_port, directory), log=directory / "redis.log") as redis:
        await redis.wait_for_port(redis_port)
        async with (
            ChildProcess(*worker_command, log=directory / "redis-worker.log") as worker,
            ChildProcess(*api_command, log=directory / "redis-api.log") as api,
        ):
            await api.wait_for_port(port)

            async def restart() -> None:
                for process in (api, worker):
                    await process.kill()
                    await process.start()
                await api.wait_for_port(port)

            yield Target(
                name="redis",
                urls=(f"http://127.0.0.1:{port}",),
                pids=lambda: {"api": [api.pid], "worker": [worker.pid], "redis": [redis.pid]},
                restart=restart,
            )


def _redis_command(port: int, directory: Path) -> Sequence[str]:
    where = ("--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory))
    durable = ("--appendonly", "yes", "--appendfsync", "everysec", "--save", "")
    return (shutil.which(REDIS_SERVER) or REDIS_SERVER, *where, *durable, "--maxclients", "15000")
