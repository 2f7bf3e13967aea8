"""What the run is played on: NATS, Postgres, API replicas and generators, all real, all of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from infra.chaos.fleet import Fleet, NatsProcess, PostgresProcess, Process, ServerProcess

CONFIGURATION = """
[providers.demo]
kind = "demo"

[providers.plain]
kind = "demo"
prefill = false
"""
POLL_SECONDS = 0.1
SETTLED_SECONDS = 60.0


@dataclass
class Stage:
    nats: ServerProcess
    postgres: ServerProcess
    fleet: Fleet

    @property
    def services(self) -> list[Process]:
        return [*self.fleet.apis, *self.fleet.generators]

    async def settled(self) -> None:
        """Until every replica says that all is well, its history too. Raises `TimeoutError`."""
        async with (
            asyncio.timeout(SETTLED_SECONDS),
            httpx.AsyncClient(trust_env=False, timeout=2.0) as client,
        ):
            for url in self.fleet.urls:
                while not await _all_is_well(client, url):  # noqa: ASYNC110 - another process gives no signal
                    await asyncio.sleep(POLL_SECONDS)


async def _all_is_well(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return bool((await client.get(f"{url}/readyz")).json()["status"] == "ok")
    except (httpx.TransportError, ValueError, KeyError):
        return False


@contextlib.asynccontextmanager
async def staged(
    directory: Path, *, apis: int, generators: int, ack_wait_seconds: float
) -> AsyncIterator[Stage]:
    """`directory` holds all data and logs."""
    config = directory / "chaos.toml"
    config.write_text(CONFIGURATION)
    async with NatsProcess(directory) as nats, PostgresProcess(directory) as postgres:
        fleet = Fleet(
            nats.url,
            postgres.url,
            directory,
            apis=apis,
            generators=generators,
            config=config,
            ack_wait_seconds=ack_wait_seconds,
            heartbeat_seconds=ack_wait_seconds / 3,
        )
        async with fleet:
            yield Stage(nats, postgres, fleet)
