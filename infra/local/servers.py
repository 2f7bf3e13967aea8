"""What the embedded servers have in common, and how one is brought up."""

import asyncio
from typing import Protocol

from infra.local.processes import Program, StartError, how_it_ended, log_tail

READY_SECONDS = 60.0
"""Postgres may have to recover, NATS to read a large store."""
READY_POLL_SECONDS = 0.02
LOG_LINES_SHOWN = 5


class Answering(Protocol):
    async def is_ready(self) -> bool:
        """Whether it can be used now. Raises nothing while it is merely not there yet."""


class Server(Answering, Protocol):
    """`check` and `prepare` once, then any number of times: `before_start`, spawn the program, `is_ready` until it says so."""

    name: str
    port: int

    @property
    def url(self) -> str:
        """Holds the password: not to be shown."""

    def check(self) -> None:
        """Raises `ConfigurationError` for what can be known to be wrong before anything is started."""

    async def prepare(self) -> Program: ...

    async def before_start(self) -> None: ...


async def wait_until_ready(server: Answering, program: Program, process: asyncio.subprocess.Process) -> None:
    """Raises `StartError` with the end of the log if the process ends first, or takes too long."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await server.is_ready():
                if process.returncode is not None:
                    raise StartError(why_not_started(program, process.returncode))
                await asyncio.sleep(READY_POLL_SECONDS)
    except TimeoutError as error:
        raise StartError(why_not_started(program, None)) from error


def why_not_started(program: Program, status: int | None) -> str:
    """`status`: None if it still runs."""
    what = f"not ready after {READY_SECONDS:.0f} s" if status is None else how_it_ended(status)
    return (
        f"{program.name} did not start: {what}; {program.log} ends:\n{log_tail(program.log, LOG_LINES_SHOWN)}"
    )
