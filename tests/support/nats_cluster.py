"""A cluster of three NATS nodes on this machine, each a process that a test may kill or pause."""

import asyncio
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from infra.chaos.fleet import ServerProcess, free_port
from infra.local import binaries
from infra.local.processes import Program

NODES = 3
POLL_SECONDS = 0.05
AGREED_SECONDS = 60.0
CONFIGURATION = """
server_name: {name}
listen: "127.0.0.1:{port}"
http: "127.0.0.1:{monitoring}"
max_payload: 8MB
jetstream {{ store_dir: "{store}", sync_interval: always }}
cluster {{ name: unspool, listen: "127.0.0.1:{cluster}", no_advertise: true, routes: [{routes}] }}
authorization {{ user: unspool, password: "{password}" }}
"""


class Node:
    """One node as an `infra.local.servers.Server`. It is ready when it agrees with the other nodes."""

    def __init__(self, name: str, directory: Path, password: str, routes: list[int], number: int) -> None:
        self.name = name
        self.port = free_port()
        self._monitoring = free_port()
        self._directory = directory / name
        self._password = password
        self._routes = routes
        self._cluster = routes[number]

    @property
    def url(self) -> str:
        return f"nats://unspool:{self._password}@127.0.0.1:{self.port}"

    def check(self) -> None:
        binaries.nats_server()

    async def prepare(self) -> Program:
        self._directory.mkdir()
        file = self._directory / "nats.conf"
        file.write_text(
            CONFIGURATION.format(
                name=self.name,
                port=self.port,
                monitoring=self._monitoring,
                store=self._directory / "store",
                cluster=self._cluster,
                routes=", ".join(f'"nats://127.0.0.1:{port}"' for port in self._routes),
                password=self._password,
            )
        )
        return Program(
            name=self.name,
            argv=(str(binaries.nats_server()), "-c", str(file)),
            log=self._directory / "nats.log",
            pid_file=self._directory / "nats.pid",
            environ=dict(os.environ),
        )

    async def before_start(self) -> None:
        """Does nothing: NATS recovers its store by itself."""

    async def is_ready(self) -> bool:
        try:
            await self.fetch("healthz")
        except httpx.HTTPError:
            return False
        return True

    async def fetch(self, path: str, **params: str) -> dict[str, Any]:
        async with httpx.AsyncClient(timeout=1.0, trust_env=False) as http:
            url = f"http://127.0.0.1:{self._monitoring}/{path}"
            response = (await http.get(url, params=params)).raise_for_status()
        found: dict[str, Any] = response.json()
        return found


class NatsCluster:
    """Three nodes. `async with NatsCluster(directory)` starts and stops them."""

    def __init__(self, directory: Path) -> None:
        password = "p" + secrets.token_hex(8)  # not a number
        routes = [free_port() for _ in range(NODES)]
        self._nodes = [Node(f"node{at}", directory, password, routes, at) for at in range(NODES)]
        self.processes = {node.name: ServerProcess(node) for node in self._nodes}

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self._nodes)

    async def leader(self, stream: str, other_than: str = "") -> str:
        """Returns the leader of a stream when all responding nodes agree on one that is not `other_than`."""
        async with asyncio.timeout(AGREED_SECONDS):
            while len(leaders := await self._leaders(stream)) != 1 or leaders & {"", other_than}:
                await asyncio.sleep(POLL_SECONDS)
        return leaders.pop()

    async def _leaders(self, stream: str) -> set[str]:
        found: set[str] = set()
        for node in self._nodes:
            try:
                told = await node.fetch("jsz", accounts="true", streams="true")
            except httpx.HTTPError:  # it is dead, or hangs
                continue
            streams = [one for account in told["account_details"] for one in account.get("stream_detail", [])]
            found |= {one["cluster"].get("leader", "") for one in streams if one["name"] == stream}
        return found

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.TaskGroup() as group:
                for process in self.processes.values():
                    group.create_task(process.start())
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            await process.stop()
