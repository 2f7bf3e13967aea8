"""Unspool as processes that can be killed, paused and restarted: for chaos runs and tests.

Servers and services are real processes on free ports of this machine, with their own data. They keep their ports
over restarts, and end with the process that started them.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from infra.local.data_directory import DataDirectory
from infra.local.data_directory import free_port as free_port_except
from infra.local.nats_server import NatsServer
from infra.local.postgres_server import PostgresServer
from infra.local.processes import Program, spawn, stop
from infra.local.servers import Server, wait_until_ready

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 10.0
START_SECONDS = 30.0
_POLL_SECONDS = 0.05


def free_port() -> int:
    """Returns a free port of this machine."""
    return free_port_except(taken=())


@contextmanager
def temporary_data(prefix: str = "unspool-test-") -> Iterator[Path]:
    """Yields a directory that other users can enter, and deletes it: root's Postgres runs as another user."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class ServerProcess:
    """One server that can be started and stopped. It keeps its port, password and data. The caller stops it."""

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
        assert self._process is not None, "call start() first"  # noqa: S101 - an error of the caller
        return self._process

    async def start(self) -> None:
        """Starts the server and returns when it is ready."""
        if self._program is None:
            self._server.check()
            self._program = await self._server.prepare()
        await self._server.before_start()
        self._process = await spawn(self._program)
        await wait_until_ready(self._server, self._program, self._process)

    async def kill9(self) -> None:
        """Kills the process and returns when it has ended."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """Stops the server cleanly; does nothing if it is not running."""
        if self._process and self._program and self._process.returncode is None:
            self.resume()
            await stop(self._process, self._program, STOP_SECONDS)

    async def restart(self) -> None:
        """Stops the server cleanly and starts it again."""
        await self.stop()
        await self.start()

    def pause(self) -> None:
        """Suspends the process until `resume`: it keeps its connections and sends nothing, like a hung machine."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continues a paused process."""
        self.process.send_signal(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()


class NatsProcess(ServerProcess):
    """A NATS server with its data below the directory."""

    def __init__(self, data: Path) -> None:
        super().__init__(NatsServer(_make_directory(data)))


class PostgresProcess(ServerProcess):
    """A Postgres server with its data below the directory, without fsync."""

    def __init__(self, data: Path) -> None:
        self._postgres = PostgresServer(_make_directory(data), durable=False)
        super().__init__(self._postgres)

    def url_of(self, database: str) -> str:
        """Returns the URL of a database of this server."""
        return self._postgres.url_of(database)


def _make_directory(data: Path) -> DataDirectory:
    directory = DataDirectory(data)
    directory.make()
    return directory


class Process:
    """One service. `kill` sends SIGKILL, `terminate` SIGTERM; both wait for its end. Its fleet owns it."""

    def __init__(self, module: str, environ: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._program = Program(
            name=log.stem,
            argv=(sys.executable, "-m", module),
            log=log,
            pid_file=log.with_suffix(".pid"),
            environ=environ,
            directory=ROOT,
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def name(self) -> str:
        return self._program.name

    async def start(self) -> None:
        """Starts the process and returns without waiting for it to be ready."""
        self._process = await spawn(self._program)

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The newest process; `start` must have been called."""
        assert self._process is not None, "call start() first"  # noqa: S101 - an error of the caller
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def status(self) -> int | None:
        """The exit status, or the negative number of the signal; None while it is running."""
        return self._process.returncode if self._process else None

    def log(self) -> str:
        """Returns everything that the process has logged."""
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process."""
        self.process.send_signal(number)

    async def kill(self) -> None:
        """Sends SIGKILL and waits for the end of the process."""
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """Sends SIGTERM, waits for the end of the process, and returns its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        process = self.process
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
        async with asyncio.timeout(START_SECONDS):
            return await process.wait()


class Fleet:
    """API replicas and generators of one log and one database. `async with Fleet(...)` starts and stops them."""

    def __init__(
        self,
        nats_url: str,
        postgres_url: str,
        directory: Path,
        *,
        apis: int = 1,
        generators: int = 1,
        **settings: Any,  # noqa: ANN401 - any setting's value
    ) -> None:
        """Creates the processes without starting them. `directory`: for logs. `settings`: by their names in `Settings`,
        or `config`, the path of a settings file.
        """
        self._directory = directory
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UNSPOOL_", "OPENAI_", "ANTHROPIC_", "OLLAMA_"))
        }
        own = {f"UNSPOOL_{name.upper()}": str(value) for name, value in settings.items()}
        servers = {
            "UNSPOOL_NATS_URL": nats_url,
            "UNSPOOL_POSTGRES_URL": postgres_url,
            "PYTHONUNBUFFERED": "1",
        }
        # Hide an Ollama of this machine.
        self._environ = inherited | {"OLLAMA_HOST": "127.0.0.1:9"} | servers | own
        self.urls: list[str] = []
        self.generator_urls: list[str] = []
        self.apis = [self._api(number) for number in range(apis)]
        self.generators: list[Process] = []
        for _ in range(generators):
            self.add_generator()

    def _api(self, number: int) -> Process:
        port = free_port()
        self.urls.append(_url(port))
        return self._process("services.api", f"api{number}", UNSPOOL_PORT=str(port))

    def _process(self, module: str, name: str, **environ: str) -> Process:
        return Process(module, self._environ | environ, self._directory / f"{name}.log")

    def add_generator(self) -> Process:
        """Adds a generator without starting it."""
        port = free_port()
        self.generator_urls.append(_url(port))
        name = f"generator{len(self.generators)}"
        process = self._process("services.generator", name, UNSPOOL_GENERATOR_PORT=str(port))
        self.generators.append(process)
        return process

    async def __aenter__(self) -> Self:
        try:
            for process in (*self.generators, *self.apis):
                await process.start()
            for number in range(len(self.apis)):
                await self.wait_until_ready(number)
        except BaseException:
            await self.__aexit__()  # end the processes that were started
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*map(_stop, (*self.apis, *self.generators)))

    async def wait_until_ready(self, number: int = 0) -> None:
        """Returns when this API is ready and lists models."""
        await _until(_api_is_ready, self.urls[number], self.apis[number])

    async def wait_until_generator_ready(self, number: int) -> None:
        """Returns when this generator is ready for requests."""
        await _until(_is_ready, self.generator_urls[number], self.generators[number])


async def _stop(process: Process) -> None:
    """Terminates a process, also a paused one; does nothing if it has ended."""
    if process.is_running:
        with contextlib.suppress(ProcessLookupError):
            process.send(signal.SIGCONT)
        await process.terminate()


async def _until(ready: Callable[[httpx.AsyncClient], Awaitable[bool]], url: str, process: Process) -> None:
    async with httpx.AsyncClient(base_url=url) as client, asyncio.timeout(START_SECONDS):
        while not await ready(client):
            if not process.is_running:
                raise AssertionError(process.log())
            await asyncio.sleep(_POLL_SECONDS)


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200  # noqa: PLR2004
    except httpx.TransportError:
        return False


async def _api_is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return await _is_ready(client) and bool((await client.get("/v1/models")).json()["data"])
    except (httpx.TransportError, KeyError):
        return False


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"
