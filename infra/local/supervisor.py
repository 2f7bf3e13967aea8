"""Keeps processes running: restarts and reports a process that dies, and stops all together."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from infra.local.processes import Program, StartError, how_it_ended, spawn, stop

RESTART_SECONDS_FIRST = 0.1
RESTART_SECONDS_MAX = 10.0
STABLE_SECONDS = 30.0
"""The restart delay is reset for a process that ran for this long."""
Say = Callable[[str], None]


async def _do_nothing() -> None:
    pass


@dataclass
class Member:
    """One process of a crew."""

    program: Program
    before_start: Callable[[], Awaitable[None]]
    process: asyncio.subprocess.Process
    watch: asyncio.Task[None] | None = field(default=None)


class Crew:
    """Processes that stop at the same time. It owns them."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._members: list[Member] = []
        self._stopping = False

    async def start(
        self, program: Program, before_start: Callable[[], Awaitable[None]] = _do_nothing
    ) -> Member:
        """Starts a process once. The caller waits until it is ready, then calls `keep_running`."""
        await before_start()
        member = Member(program, before_start, await spawn(program))
        self._members.append(member)
        return member

    def keep_running(self, member: Member) -> None:
        """Restarts the process from now on whenever it ends."""
        member.watch = asyncio.create_task(self._watch(member), name=f"watch {member.program.name}")

    async def stop(self, grace_seconds: float) -> None:
        """Stops all processes. If it is cancelled, as by a second Ctrl-C, it kills the remaining ones at once."""
        self._stopping = True
        await self._stop_watching()
        try:
            async with asyncio.TaskGroup() as group:
                for member in self._members:
                    group.create_task(self._stop(member, grace_seconds))
        finally:
            for member in self._members:
                if member.process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        member.process.kill()

    async def _stop(self, member: Member, grace_seconds: float) -> None:
        if not await stop(member.process, member.program, grace_seconds):
            self._say(f"{member.program.name} did not stop within {grace_seconds:.1f} s: killed")

    async def _stop_watching(self) -> None:
        watches = [member.watch for member in self._members if member.watch]
        for watch in watches:
            watch.cancel()
        if watches:
            await asyncio.wait(watches)

    async def _watch(self, member: Member) -> None:
        delay = RESTART_SECONDS_FIRST
        clock = asyncio.get_running_loop().time
        while True:
            started = clock()
            status = await member.process.wait()
            delay = RESTART_SECONDS_FIRST if clock() - started > STABLE_SECONDS else delay
            await asyncio.sleep(delay)
            await self._restart(member, how_it_ended(status))
            delay = min(2 * delay, RESTART_SECONDS_MAX)

    async def _restart(self, member: Member, how: str) -> None:
        try:
            await member.before_start()
            member.process = await spawn(member.program)
        except (OSError, StartError) as error:
            self._say(f"{member.program.name} died ({how}), and cannot be restarted yet: {error}")
        else:
            self._say(f"{member.program.name} died ({how}): restarted; its log is {member.program.log}")
