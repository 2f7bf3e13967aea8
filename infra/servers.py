"""What the embedded servers have in common, and how one is brought up."""

import asyncio
from typing import Protocol

from infra.processes import Program, StartError, how_it_ended, log_tail

READY_SECONDS = 60.0
"""Postgres may have to recover, NATS to read a large store."""
READY_POLL_SECONDS = 0.02
LOG_LINES_SHOWN = 5


class Server(Protocol):
    """`prepare` once, then any number of times: `before_start`, spawn the program, `is_ready` until it says so."""

    name: str
    port: int

    @property
    def url(self) -> str:
        """Holds the password: not to be shown."""

    async def prepare(self) -> Program: ...

    async def before_start(self) -> None: ...

    async def is_ready(self) -> bool: ...


async def wait_until_ready(server: Server, program: Program, process: asyncio.subprocess.Process) -> None:
    """Raises `StartError` with the end of the log if the process ends first, or takes too long."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            while not await server.is_ready():
                if process.returncode is not None:
                    raise StartError(_why(program, how_it_ended(process.returncode)))
                await asyncio.sleep(READY_POLL_SECONDS)
    except TimeoutError as error:
        raise StartError(_why(program, f"not ready after {READY_SECONDS:.0f} s")) from error


def _why(program: Program, what: str) -> str:
    return (
        f"{program.name} did not start: {what}; {program.log} ends:\n{log_tail(program.log, LOG_LINES_SHOWN)}"
    )
