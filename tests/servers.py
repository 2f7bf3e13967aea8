"""Real NATS and Postgres for tests, on free ports and data of their own; they can be killed and started again."""

import asyncio
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from infra.data_directory import DataDirectory
from infra.data_directory import free_port as free_port_except
from infra.nats_server import NatsServer
from infra.postgres_server import PostgresServer
from infra.processes import Program, spawn, stop
from infra.servers import Server, wait_until_ready

STOP_SECONDS = 10.0


def free_port() -> int:
    return free_port_except(taken=())


@contextmanager
def temporary_data(prefix: str = "unspool-test-") -> Iterator[Path]:
    """Open to all on the way, unlike pytest's `tmp_path`: root's Postgres runs as another user."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class ServerProcess:
    """One server, started and stopped at will. Its port, password and data stay the same from start to start."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._program: Program | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "start() comes first"
        return self._process

    async def start(self) -> None:
        """Returns when the server can be used."""
        if self._program is None:
            self._server.check()
            self._program = await self._server.prepare()
        await self._server.before_start()
        self._process = await spawn(self._program)
        await wait_until_ready(self._server, self._program, self._process)

    async def kill9(self) -> None:
        """Returns when the process is gone."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """In good order. Nothing happens if it does not run."""
        if self._process and self._program and self._process.returncode is None:
            await stop(self._process, self._program, STOP_SECONDS)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """It keeps its connections and answers nothing, like a machine that hangs, until `resume`."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


class NatsProcess(ServerProcess):
    def __init__(self, data: Path) -> None:
        super().__init__(NatsServer(_opened(data)))


class PostgresProcess(ServerProcess):
    def __init__(self, data: Path) -> None:
        self._postgres = PostgresServer(_opened(data), durable=False)
        super().__init__(self._postgres)

    def url_of(self, database: str) -> str:
        return self._postgres.url_of(database)


def _opened(data: Path) -> DataDirectory:
    directory = DataDirectory(data)
    directory.make()
    return directory
