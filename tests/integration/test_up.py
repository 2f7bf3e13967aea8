"""`./unspool up` as a person uses it: the real command, and what it shows at the terminal."""

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

import httpx
import psutil
import pytest

from infra.local.processes import is_alive
from tests.support.reader import Reader
from tests.support.servers import free_port, temporary_data
from tests.support.system import Client

UNSPOOL = Path(__file__).parents[2] / "unspool"
READY = "Unspool is ready: "
STOPPED_SECONDS = 30.0
"""Three are promised; a test machine may be busy with something else."""
POLL_SECONDS = 0.05
DIED = "died (signal 9): restarted"


class Up:
    """One `./unspool up`, and the lines that it has shown."""

    def __init__(self, data: Path, *options: str, port: int | None = None, **environ: str) -> None:
        self.data = data
        self.url = f"http://127.0.0.1:{port or (port := free_port())}"
        self._command = (str(UNSPOOL), "up", "--data", str(data), "--port", str(port), *options)
        self._environ = _environ() | environ
        self._process: asyncio.subprocess.Process | None = None
        self.shown: list[str] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            await self.stop()

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process
        return self._process

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environ,
            cwd="/",
        )

    async def line(self, part: str) -> str:
        """The next line that holds this."""
        assert self.process.stdout
        async for line in self.process.stdout:
            self.shown.append(line.decode().rstrip())
            if part in self.shown[-1]:
                return self.shown[-1]
        pytest.fail(f"ended without showing {part!r}:\n" + "\n".join(self.shown))

    async def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return await self.wait_for_end()

    async def wait_for_end(self) -> int:
        """Its exit status, when all that it shows has been read."""
        assert self.process.stdout
        async with asyncio.timeout(STOPPED_SECONDS):
            rest = await self.process.stdout.read()
            self.shown += rest.decode().splitlines()
            return await self.process.wait()

    def pids(self) -> dict[str, int]:
        return {file.stem: json.loads(file.read_text())["pid"] for file in (self.data / "run").glob("*.pid")}

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with httpx.AsyncClient(base_url=self.url, timeout=STOPPED_SECONDS) as http:
            yield Client(http)


def _environ() -> dict[str, str]:
    theirs = ("UNSPOOL_", "OPENAI_", "ANTHROPIC_", "OLLAMA_", "XDG_", "PYTHON")
    own = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    return own | {"OLLAMA_HOST": "127.0.0.1:9"}


@pytest.fixture
async def up(data_directory: Path) -> AsyncIterator[Up]:
    async with Up(data_directory) as running:
        await running.line(READY)
        yield running


@pytest.fixture(scope="module")
async def lasting() -> AsyncIterator[Up]:
    """For tests that do not stop it, and leave it whole."""
    with temporary_data() as data:
        # With a default model, the line to paste does not ask for the demo's slow one.
        async with Up(data, UNSPOOL_DEFAULT_MODEL="demo/20x20ms") as running:
            await running.line("unspool chat --data")
            yield running


@pytest.mark.skipif(not shutil.which("curl"), reason="the line is for curl")
async def test_the_line_to_paste_streams_an_answer(lasting: Up) -> None:
    line = next(line for line in lasting.shown if line.startswith("curl "))
    shell = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    output, _ = await shell.communicate()
    assert shell.returncode == 0
    assert output.index(b"event: accepted") < output.index(b"event: token") < output.index(b"event: done")


@pytest.mark.parametrize("name", ["generator 1", "API 1", "NATS", "Postgres"])
async def test_a_process_that_is_killed_is_started_again_and_said_so(lasting: Up, name: str) -> None:
    os.kill(lasting.pids()[name.lower().replace(" ", "-")], signal.SIGKILL)
    assert f"{name} {DIED}" in await lasting.line(DIED)
    reader = Reader()
    async with lasting.client() as client:
        asked = await _patiently(client.ask_new_chat)
        while not reader.done:
            await reader.read(client, asked["answer"])
    assert reader.done["status"] == "completed"


async def test_ctrl_c_stops_all_of_it_and_a_second_up_goes_on_where_it_was(
    up: Up, record_property: Callable[[str, object], None]
) -> None:
    reader = Reader()
    async with up.client() as client:
        chat = await client.chat()
        asked = await client.ask(chat, model="demo/200x20ms")
        await reader.read(client, asked["answer"], until=lambda reader: reader.last_index >= 1)
    pids = up.pids().values()
    begun = time.monotonic()
    assert await up.stop() == 0
    record_property("seconds to stop", time.monotonic() - begun)
    assert up.shown[-1] == "Stopped."
    assert not any(psutil.pid_exists(pid) for pid in pids)
    await up.start()
    await up.line(READY)
    async with up.client() as client:
        while not reader.done:
            await reader.read(client, asked["answer"])
        history = await client.history(chat, after=reader.done["cursor"])
    assert json.dumps(reader.text) in json.dumps(history)


async def test_sigterm_stops_it_like_ctrl_c(up: Up) -> None:
    assert await up.stop(signal.SIGTERM) == 0


async def test_nothing_outlives_it_when_it_is_killed_and_the_next_one_starts(up: Up) -> None:
    left = [psutil.Process(pid) for pid in up.pids().values()]
    await up.stop(signal.SIGKILL)
    await up.start()
    await up.line(READY)
    assert not any(is_alive(process) for process in left)


async def test_several_apis_and_generators_run_side_by_side(data_directory: Path) -> None:
    async with Up(data_directory, "--apis", "2", "--generators", "2") as up:
        await up.line(READY)
        assert set(up.pids()) == {"nats", "postgres", "api-1", "api-2", "generator-1", "generator-2"}


async def test_servers_that_are_given_are_used_and_left_alone(
    data_directory: Path, nats_url: str, database: str
) -> None:
    async with Up(data_directory, UNSPOOL_NATS_URL=nats_url, UNSPOOL_POSTGRES_URL=database) as up:
        await up.line(READY)
        assert set(up.pids()) == {"api-1", "generator-1"}
        assert not any(nats_url in line or database in line for line in up.shown)


async def _patiently(call: Callable[[], Awaitable[dict[str, str]]]) -> dict[str, str]:
    """A service that is being started again refuses connections, then says that it is not ready."""
    while True:
        with contextlib.suppress(httpx.TransportError, AssertionError):
            return await call()
        await asyncio.sleep(POLL_SECONDS)


# --- what cannot work is one line ------------------------------------------------------------------


async def _only_line(up: Up, status: int) -> str:
    async with up:
        assert await up.wait_for_end() == status
    assert len(up.shown) == 1, up.shown
    return up.shown[0]


async def test_a_port_in_use_is_one_line(data_directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = await _only_line(Up(data_directory, port=port), status=2)
    assert line == (
        f"unspool: cannot listen on 127.0.0.1:{port}: another program is using this port; choose another port with --port"
    )


async def test_a_data_directory_in_use_is_one_line(lasting: Up) -> None:
    line = await _only_line(Up(lasting.data), status=2)
    assert re.fullmatch(
        r"unspool: another unspool \(process \d+\) is using .*: stop it first, or .* --data", line
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_data_directory_without_rights_is_one_line(data_directory: Path) -> None:
    (closed := data_directory / "closed").mkdir(mode=0o500)
    line = await _only_line(Up(closed / "data"), status=2)
    assert line.startswith(f"unspool: cannot write to {closed}/data: Permission denied")


@pytest.mark.skipif(os.geteuid() != 0, reason="Postgres runs as whoever runs it, unless that is root")
async def test_a_data_directory_that_is_closed_to_roots_postgres_is_one_line(data_directory: Path) -> None:
    closed = data_directory / "closed"
    closed.mkdir(mode=0o700)
    line = await _only_line(Up(closed / "data"), status=2)
    assert line.startswith("unspool: Postgres does not run as root, and its user")
    assert f"cannot enter {closed}: open it (chmod o+x {closed})" in line


async def test_settings_that_cannot_work_are_one_line(data_directory: Path) -> None:
    line = await _only_line(Up(data_directory, UNSPOOL_ACK_WAIT_SECONDS="never"), status=2)
    assert line.startswith("unspool: settings: ")
