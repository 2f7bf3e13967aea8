"""The systems that are measured. Each runs its own server processes, and says where their processor time goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from infra.chaos.fleet import Fleet, ServerProcess, free_port
from infra.local.data_directory import DataDirectory
from infra.local.nats_server import NatsServer
from infra.local.postgres_server import PostgresServer
from infra.local.processes import Program
from tests.bench.processes import processor_seconds
from tests.support.system import System

QUIET_SHARE = 0.1
"""A target is at rest when its processes use less of one processor than this."""
QUIET_SECONDS = 0.5
QUIET_WAIT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Target:
    """A running system. `processes`: its server processes by what they are."""

    name: str
    urls: tuple[str, ...]
    processes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    monitor_url: str = ""
    """The address of NATS' monitoring, if there is a NATS."""
    fleet: Fleet | None = None

    def processor_seconds(self) -> dict[str, float]:
        """Returns the processor time so far of each kind of process."""
        return {name: sum(map(processor_seconds, pids)) for name, pids in self.processes.items()}

    async def nats_messages(self) -> int:
        """Returns the number of messages that NATS received and sent so far; 0 without a NATS."""
        if not self.monitor_url:
            return 0
        async with httpx.AsyncClient() as client:
            counted = (await client.get(f"{self.monitor_url}/varz")).json()
        return int(counted["in_msgs"]) + int(counted["out_msgs"])

    async def settle(self) -> None:
        """Returns when the processes are at rest, or after a bounded time: work of one case must not count in another."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(QUIET_WAIT_SECONDS):
                before = sum(self.processor_seconds().values())
                while self.processes:
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
            processes={
                "api": [api.pid for api in system.apis],
                "generator": [generator.pid for generator in system.generators],
                "nats": [nats.process.pid],
                "postgres": [postgres.process.pid],
            },
            monitor_url=f"http://127.0.0.1:{nats_server.monitor_port}",
            fleet=system,
        )
