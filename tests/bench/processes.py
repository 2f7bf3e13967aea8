"""Processor time and memory of server processes, and the processes of the bench itself."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import msgspec
import psutil

from infra.chaos.fleet import ROOT, free_port
from tests.bench.plans import Outcome, Plan

START_SECONDS = 20.0
OUTCOME_MAX_BYTES = 1024**2
_POLL_SECONDS = 0.02
_TICKS = os.sysconf("SC_CLK_TCK")
_TIMES = slice(11, 15)
"""utime, stime, cutime and cstime among the fields of /proc/PID/stat that follow the name."""


def processor_seconds(pid: int) -> float:
    """Returns the processor time of a process and of all its children, those that have ended included."""
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return sum(map(_own_processor_seconds, family))


def _own_processor_seconds(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:  # it ended just now: its parent has its time
        return 0.0
    return sum(map(int, stat.rpartition(")")[2].split()[_TIMES])) / _TICKS


def memory_bytes(pid: int) -> int:
    """Returns the memory that a process has, with its share of what it shares with others."""
    return int(psutil.Process(pid).memory_full_info().pss)


def module_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Returns the command that runs a module of this checkout."""
    return (sys.executable, "-m", module, *arguments)


class ChildProcess:
    """A process of the bench. `async with` starts and kills it; its output goes to the log."""

    def __init__(self, *command: str, log: Path) -> None:
        self._command = command
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def kill(self) -> None:
        """Sends SIGKILL and waits for the end; does nothing if the process has ended."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def wait_for_port(self, port: int) -> None:
        """Returns when the process listens. Raises `RuntimeError` with its log if it ends."""
        async with asyncio.timeout(START_SECONDS):
            while not await _listens(port):
                if self._process and self._process.returncode is not None:
                    raise RuntimeError(self._log.read_text(errors="replace"))
                await asyncio.sleep(_POLL_SECONDS)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@contextlib.asynccontextmanager
async def run_provider(directory: Path) -> AsyncIterator[str]:
    """Runs the provider stand-in, and yields its URL."""
    port = free_port()
    async with ChildProcess(
        *module_command("tests.bench.provider", str(port)), log=directory / "provider.log"
    ) as process:
        await process.wait_for_port(port)
        yield f"http://127.0.0.1:{port}"


class Load:
    """The load client's process. It does one plan at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def run(self, plan: Plan) -> Outcome:
        """Returns the outcome. Raises `RuntimeError` if the load process ended."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(plan) + b"\n")
        if not (line := await self._process.stdout.readline()):
            raise RuntimeError("the load client ended: its output says why")
        return msgspec.json.decode(line, type=Outcome)


@contextlib.asynccontextmanager
async def run_load() -> AsyncIterator[Load]:
    """Runs the load client. Its error output is that of this process."""
    process = await asyncio.create_subprocess_exec(
        *module_command("tests.bench.load"),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=OUTCOME_MAX_BYTES,
    )
    try:
        yield Load(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
