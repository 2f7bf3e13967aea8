"""The embedded NATS: one `nats-server` on loopback with its store in the data directory."""

import asyncio
import contextlib
import json
import os
from pathlib import Path

from infra.local import binaries
from infra.local.data_directory import DataDirectory
from infra.local.processes import Program

CONFIGURATION = Path(__file__).parents[1] / "nats.conf"
USER = "unspool"
"""The user in nats.conf."""
CONNECT_SECONDS = 1.0


def url_at(port: int, password: str) -> str:
    """Returns the URL with the password. Do not print it."""
    return f"nats://{USER}:{password}@127.0.0.1:{port}"


class NatsServer:
    """Prepares the embedded NATS as a `Server`. The supervisor owns its process."""

    name = "NATS"

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._store = data.path / "nats"
        self.port = 0

    @property
    def url(self) -> str:
        return url_at(self.port, self._data.secret("nats"))

    def check(self) -> None:
        """Raises `ConfigurationError` if `nats-server` is not installed."""
        binaries.nats_server()

    async def prepare(self) -> Program:
        """Returns the program for every start. Call it once: the port stays the same over restarts."""
        executable = binaries.nats_server()
        self._store.mkdir(mode=0o700, exist_ok=True)
        self.port = self._data.port("nats")
        own_pid = str(self._data.run / "nats-server.own-pid")  # puts the data directory into the arguments
        where = ("-c", str(CONFIGURATION), "-a", "127.0.0.1", "-p", str(self.port), "-P", own_pid)
        variables = {"NATS_STORE_DIR": str(self._store), "NATS_PASSWORD": self._data.secret("nats")}
        return Program(
            name=self.name,
            argv=(str(executable), *where),
            log=self._data.logs / "nats.log",
            pid_file=self._data.run / "nats.pid",
            environ=dict(os.environ) | variables,
            address=f"127.0.0.1:{self.port}",
        )

    async def before_start(self) -> None:
        """Does nothing: NATS recovers its store by itself."""

    async def is_ready(self) -> bool:
        """Returns True if NATS greets a client with JetStream enabled, which it does after reading its store."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    greeting = await reader.readline()
                finally:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()
        except (OSError, TimeoutError, ValueError):
            return False
        verb, _, about = greeting.partition(b" ")
        return verb == b"INFO" and bool(json.loads(about).get("jetstream"))
