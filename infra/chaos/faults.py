"""Doing to the stage what the schedule says, and putting it right again; the windows of it are written down."""

import asyncio
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable

from msgspec import Struct

from infra.chaos.fleet import Process, ServerProcess
from infra.chaos.schedule import Fault, Kind
from infra.chaos.stage import Stage
from infra.chaos.witness import Witness

KEEPER_SECONDS = 0.2
LOG_LINES_SHOWN = 4
LINE_CHARS_SHOWN = 300
WINDOW_SECONDS_MIN = 1.0
"""What a fault does to calls may be seen a little after it."""


class Window(Struct, frozen=True):
    """From the fault until every replica said that all is well again, and for `WINDOW_SECONDS_MIN` at least."""

    kind: Kind
    began: float
    ended: float


class Faults:
    """`windows` and `ended_alone` are the record: what was done, and processes that ended without being told to."""

    def __init__(
        self, stage: Stage, witness: Witness, cut: Callable[[], int], ack_wait_seconds: float
    ) -> None:
        self.windows: list[Window] = []
        self.ended_alone: list[str] = []
        self._stage = stage
        self._witness = witness
        self._cut = cut
        self._ack_wait_seconds = ack_wait_seconds
        self._busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._in_hand: set[str] = set()
        """Services that a fault is about to start again itself."""

    async def inflict(self, faults: Iterable[Fault], until: float) -> None:
        """One after another, or some at once, until the time is over; then waits until what was begun is put right."""
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep())
            before: set[asyncio.Task[None]] = set()
            for fault in faults:
                if before and not fault.at_once:
                    await asyncio.wait(before)
                    before = set()
                await asyncio.sleep(fault.after_seconds)
                if _now() >= until:
                    break
                before.add(group.create_task(self._one(fault)))
            if before:
                await asyncio.wait(before)
            keeper.cancel()

    async def _one(self, fault: Fault) -> None:
        # One replica of the API at a time: a person who has two takes care not to restart both at once.
        what = fault.kind.split()[0]
        async with self._busy[what if what == "API" else f"{what}{fault.target}"]:
            began = _now()
            await self._do(fault)
            try:
                await self._stage.settled()
            except TimeoutError:
                self._witness.found("wrong", f"not all is well a minute after {fault.kind}")
            await asyncio.sleep(max(0.0, began + WINDOW_SECONDS_MIN - _now()))
            self.windows.append(Window(fault.kind, began, _now()))

    async def _do(self, fault: Fault) -> None:
        fleet = self._stage.fleet
        match fault.kind:
            case Kind.GENERATOR_KILL | Kind.GENERATOR_TERM | Kind.GENERATOR_STOP:
                began = _now()
                await self._service(fleet.generators[fault.target], fault)
                if fault.kind is Kind.GENERATOR_KILL:  # until its answers are in other hands
                    await asyncio.sleep(max(0.0, began + self._ack_wait_seconds - _now()))
            case Kind.API_KILL | Kind.API_TERM | Kind.API_STOP:
                await self._service(fleet.apis[fault.target], fault)
            case Kind.NATS_KILL:
                await _server(self._stage.nats, fault)
            case Kind.POSTGRES_KILL:
                await _server(self._stage.postgres, fault)
            case Kind.NATS_STOP:
                self._stage.nats.pause()
                await asyncio.sleep(fault.away_seconds)
                self._stage.nats.resume()
            case Kind.CUT:
                self._cut()

    async def _service(self, process: Process, fault: Fault) -> None:
        self._in_hand.add(process.name)
        try:
            if process.running:  # else it ended alone, and the keeper has not come by yet
                await self._hit(process, fault)
        finally:
            self._in_hand.remove(process.name)

    async def _hit(self, process: Process, fault: Fault) -> None:
        match fault.kind:
            case Kind.GENERATOR_STOP | Kind.API_STOP:
                process.send(signal.SIGSTOP)
                await asyncio.sleep(fault.away_seconds)
                process.send(signal.SIGCONT)
                return
            case Kind.GENERATOR_TERM | Kind.API_TERM:
                # uvicorn ends by the signal that it was sent, when all is closed.
                if (status := await process.terminate()) not in {0, -signal.SIGTERM}:
                    self.ended_alone.append(f"{process.name}: exit status {status} on SIGTERM")
            case _:
                await process.kill()
        await asyncio.sleep(fault.away_seconds)
        await process.start()

    async def _keep(self) -> None:
        """As any supervisor: who ends alone, as an API that starts while NATS is away, is started again."""
        while True:
            await asyncio.sleep(KEEPER_SECONDS)
            for process in self._stage.services:
                if not process.running and process.name not in self._in_hand:
                    self.ended_alone.append(
                        f"{process.name}: status {process.status}\n{_last_lines(process)}"
                    )
                    await process.start()


async def _server(server: ServerProcess, fault: Fault) -> None:
    await server.kill9()
    await asyncio.sleep(fault.away_seconds)
    await server.start()


def _last_lines(process: Process) -> str:
    lines = process.log().strip().splitlines()[-LOG_LINES_SHOWN:]
    return "\n".join(f"    {line[:LINE_CHARS_SHOWN]}" for line in lines)


def _now() -> float:
    return asyncio.get_running_loop().time()
