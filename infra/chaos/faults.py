"""Inflicts the scheduled faults on the stage, repairs them, and records their time windows."""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from infra.chaos.fleet import Process, ServerProcess
from infra.chaos.schedule import Fault, Kind
from infra.chaos.stage import Stage
from infra.chaos.witness import Witness

RESTARTER_SECONDS = 0.2
LOG_LINES_SHOWN = 4
LINE_CHARS_SHOWN = 300
WINDOW_SECONDS_MIN = 1.0
"""Calls may fail for a short time after a fault."""


class Window(Struct, frozen=True):
    """The time from the fault until every replica is ready again, at least `WINDOW_SECONDS_MIN`."""

    kind: Kind
    began: float
    ended: float


class Faults:
    """Inflicts faults on one stage. `windows` records the faults, `unexpected_exits` processes that ended."""

    def __init__(
        self, stage: Stage, witness: Witness, cut: Callable[[], int], ack_wait_seconds: float
    ) -> None:
        self.windows: list[Window] = []
        self.unexpected_exits: list[str] = []
        self._stage = stage
        self._witness = witness
        self._cut = cut
        self._ack_wait_seconds = ack_wait_seconds
        self._busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._under_fault: set[str] = set()
        """Names of services that a fault stops and starts again."""

    async def inflict(self, faults: Iterable[Fault], until: float) -> None:
        """Inflicts the faults in order, some at once, until the time `until` of the loop. Returns after all repairs."""
        async with asyncio.TaskGroup() as group:
            restarter = group.create_task(self._restart_ended())
            before: set[asyncio.Task[None]] = set()
            for fault in faults:
                if before and not fault.at_once:
                    await asyncio.wait(before)
                    before = set()
                await asyncio.sleep(fault.after_seconds)
                if _now() >= until:
                    break
                before.add(group.create_task(self._inflict_one(fault)))
            if before:
                await asyncio.wait(before)
            restarter.cancel()

    async def _inflict_one(self, fault: Fault) -> None:
        # One API replica at a time, because operators do not restart both at once.
        target = fault.kind.split()[0]
        async with self._busy[target if target == "API" else f"{target}{fault.target}"]:
            began = _now()
            await self._apply(fault)
            try:
                await self._stage.wait_until_ready()
            except TimeoutError:
                self._witness.add_finding("wrong", f"a replica is not ready a minute after {fault.kind}")
            await asyncio.sleep(max(0.0, began + WINDOW_SECONDS_MIN - _now()))
            self.windows.append(Window(fault.kind, began, _now()))

    async def _apply(self, fault: Fault) -> None:
        fleet = self._stage.fleet
        match fault.kind:
            case Kind.GENERATOR_KILL | Kind.GENERATOR_TERM | Kind.GENERATOR_STOP:
                began = _now()
                await self._hit_service(fleet.generators[fault.target], fault)
                if fault.kind is Kind.GENERATOR_KILL:  # until others took over its answers
                    await asyncio.sleep(max(0.0, began + self._ack_wait_seconds - _now()))
            case Kind.API_KILL | Kind.API_TERM | Kind.API_STOP:
                await self._hit_service(fleet.apis[fault.target], fault)
            case Kind.NATS_KILL:
                await _restart_server(self._stage.nats, fault)
            case Kind.POSTGRES_KILL:
                await _restart_server(self._stage.postgres, fault)
            case Kind.NATS_STOP:
                self._stage.nats.pause()
                await asyncio.sleep(fault.away_seconds)
                self._stage.nats.resume()
            case Kind.CUT:
                self._cut()

    async def _hit_service(self, process: Process, fault: Fault) -> None:
        self._under_fault.add(process.name)
        try:
            if process.is_running:  # else it ended by itself, and `_restart_ended` will start it
                await self._hit(process, fault)
        finally:
            self._under_fault.remove(process.name)

    async def _hit(self, process: Process, fault: Fault) -> None:
        match fault.kind:
            case Kind.GENERATOR_STOP | Kind.API_STOP:
                process.send(signal.SIGSTOP)
                await asyncio.sleep(fault.away_seconds)
                process.send(signal.SIGCONT)
                return
            case Kind.GENERATOR_TERM | Kind.API_TERM:
                # After its shutdown, uvicorn raises the signal that it received.
                if (status := await process.terminate()) not in {0, -signal.SIGTERM}:
                    self.unexpected_exits.append(f"{process.name}: exit status {status} on SIGTERM")
            case _:
                await process.kill()
        await asyncio.sleep(fault.away_seconds)
        await process.start()

    async def _restart_ended(self) -> None:
        """Restarts services that end by themselves, like a supervisor: an API ends if NATS is away at its start."""
        while True:
            await asyncio.sleep(RESTARTER_SECONDS)
            for process in self._stage.services:
                if not process.is_running and process.name not in self._under_fault:
                    self.unexpected_exits.append(
                        f"{process.name}: status {process.status}\n{_last_lines(process)}"
                    )
                    await process.start()


async def _restart_server(server: ServerProcess, fault: Fault) -> None:
    await server.kill9()
    await asyncio.sleep(fault.away_seconds)
    await server.start()


def _last_lines(process: Process) -> str:
    lines = process.log().strip().splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join(f"    {line[:LINE_CHARS_SHOWN]}" for line in lines)


def _now() -> float:
    return asyncio.get_running_loop().time()
