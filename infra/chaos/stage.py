"""The stage of a run: its own NATS, Postgres, API replicas and generators as real processes."""

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
READY_SECONDS = 60.0


@dataclass
class Stage:
    """The processes of a run. `open_stage` owns them."""

    nats: ServerProcess
    postgres: ServerProcess
    fleet: Fleet

    @property
    def services(self) -> list[Process]:
        return [*self.fleet.apis, *self.fleet.generators]

    async def wait_until_ready(self) -> None:
        """Returns when every replica and its history report `ok`. Raises `TimeoutError` after `READY_SECONDS`."""
        async with (
            asyncio.timeout(READY_SECONDS),
            httpx.AsyncClient(trust_env=False, timeout=2.0) as client,
        ):
            for url in self.fleet.urls:
                while not await _is_ready(client, url):  # noqa: ASYNC110 - another process gives no signal
                    await asyncio.sleep(POLL_SECONDS)


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return bool((await client.get(f"{url}/readyz")).json()["status"] == "ok")
    except (httpx.TransportError, ValueError, KeyError):
        return False


@contextlib.asynccontextmanager
async def open_stage(
    directory: Path, *, apis: int, generators: int, ack_wait_seconds: float
) -> AsyncIterator[Stage]:
    """Starts all processes, yields the stage, and stops them. `directory`: for all data and logs."""
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
