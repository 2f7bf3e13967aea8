"""The interface of embedded servers, and how to wait for one."""

import asyncio
from typing import Protocol

from infra.local.processes import Program, StartError, how_it_ended, log_tail

READY_SECONDS = 60.0
"""Postgres may have to recover, and NATS to read a large store."""
READY_POLL_SECONDS = 0.02
LOG_LINES_SHOWN = 5


class Probe(Protocol):
    """Checks whether a process is ready."""

    async def is_ready(self) -> bool:
        """Returns True if it can be used now. Does not raise while it is starting."""


class Server(Probe, Protocol):
    """One embedded server. Call `check` and `prepare` once; for each start call `before_start`, spawn the program, and
    poll `is_ready`.
    """

    name: str
    port: int

    @property
    def url(self) -> str:
        """The URL with the password. Do not print it."""

    def check(self) -> None:
        """Raises `ConfigurationError` for problems that can be detected before the start."""

    async def prepare(self) -> Program:
        """Creates missing files and returns the program for every start."""

    async def before_start(self) -> None:
        """Cleans up after a crash."""


async def wait_until_ready(server: Probe, program: Program, process: asyncio.subprocess.Process) -> None:
    """Returns when the server is ready. Raises `StartError` with the end of its log if the process ends or takes
    longer than `READY_SECONDS`.
    """
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await server.is_ready():
                if process.returncode is not None:
                    raise StartError(why_not_started(program, process.returncode))
                await asyncio.sleep(READY_POLL_SECONDS)
    except TimeoutError as error:
        raise StartError(why_not_started(program, None)) from error


def why_not_started(program: Program, status: int | None) -> str:
    """Returns the message for a failed start. `status`: the exit status, or None if it still runs."""
    what = f"not ready after {READY_SECONDS:.0f} s" if status is None else how_it_ended(status)
    return (
        f"{program.name} did not start: {what}; {program.log} ends:\n{log_tail(program.log, LOG_LINES_SHOWN)}"
    )
