"""The processes of a deployment as `services/*/__main__.py` and `app.open_context` start them, on simulated servers."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from services.api import app
from services.api.read_model.orphans import Orphans
from services.generator.providers.registry import RegisteredProvider, Registry
from services.generator.worker import Worker
from shared.domain.subjects import AnswerId
from shared.settings import Settings
from tests.simulation.broker import Broker
from tests.simulation.checker import Checker
from tests.simulation.log import SimLog
from tests.simulation.loop import Process, SimLoop
from tests.simulation.network import Network
from tests.simulation.postgres import Postgres, SimPool
from tests.simulation.provider import Moods, SimProvider
from tests.simulation.trace import Trace


class Machine:
    """The simulated servers that all processes share."""

    def __init__(
        self, random_: random.Random, loop: SimLoop, settings: Settings, moods: Moods, trace: Trace
    ) -> None:
        self.random = random_
        self.trace = trace
        self.loop = loop
        self.settings = settings
        self.moods = moods
        self.broker = Broker(loop, settings.ack_wait_seconds)
        self.network = Network(random_)
        self.postgres = Postgres(loop, self.network)
        self.checker = Checker(self.broker, loop.failures.append, settings.attempts_max, trace)

    def failed(self, error: Exception) -> None:
        """Records that a background part ended."""
        self.loop.failures.append(f"a part of a process failed: {error!r}")

    def log_of(self, process: Process) -> SimLog:
        log = SimLog(self.broker, self.network, process, self.settings)
        log.asked_in_vain = lambda answer: self.checker.asked_in_vain(answer, process)
        return log


class SimWorker:
    """A generator process."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.process = Process(name)
        self._machine = machine
        loop, checker = machine.loop, machine.checker

        def called(model: str, prefill: str) -> None:
            checker.called(self.process, model, prefill)

        provider = SimProvider(machine.random, machine.moods, called)
        self.worker = Worker(
            machine.log_of(self.process), Registry([RegisteredProvider(provider)]), machine.settings
        )
        self.worker.id = name
        loop.spawn(self.process, self._serve())

    async def _serve(self) -> None:
        await _guard(self._machine, self.worker.serve)
        if not self._machine.network.torn_down:
            self._machine.loop.kill(self.process)  # the process exits; what it left running goes with it

    def holds(self, answer: AnswerId) -> bool:
        return (
            self.process.runs
            and not self.worker._stopping.is_set()
            and self.worker._answer_question(answer) == "yes"
        )


class SimApi:
    """An API replica that also runs the projector."""

    def __init__(self, machine: Machine, name: str) -> None:
        self.process = Process(name)
        self.connections: dict[asyncio.Future[Any], None] = {}
        """Connections of clients, which break when the process dies."""
        self._machine = machine
        pool = SimPool(machine.postgres, self.process)
        self.here = app._make_context(machine.settings, machine.log_of(self.process), pool)
        projector = self.here.projector
        assert projector is not None
        orphans = Orphans(self.here.log, self.here.reads, projector, machine.settings)
        parts = (
            self.here.facts_follower.run,
            self.here.tokens_follower.run,
            self.here.hot_log.fill,
            self.here.leftovers.run,
            orphans.run,
        )
        for part in (*parts, projector.run):
            machine.loop.spawn(self.process, _guard(machine, part))

    def serve(self, handle: Callable[[], Coroutine[Any, Any, Any]]) -> "asyncio.Future[Any]":
        """Runs one call of a client. Returns its result, or raises `Reset` if the process dies meanwhile."""
        loop = self._machine.loop
        reply = loop.create_future()
        self.connections[reply] = None
        loop.spawn(self.process, self._handle(handle, reply))
        return reply

    async def _handle(
        self, handle: Callable[[], Coroutine[Any, Any, Any]], reply: "asyncio.Future[Any]"
    ) -> None:
        try:
            result = await handle()
        except Exception as error:  # noqa: BLE001 - it is the client's
            result = error
        self.connections.pop(reply, None)
        if not reply.done():
            reply.set_result(result)

    def reset_connections(self) -> None:
        for reply in self.connections:
            if not reply.done():
                reply.set_result(Reset())
        self.connections.clear()


class Reset(Exception):
    """The connection broke; the result of the call is unknown."""


async def _guard(machine: Machine, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await part()
    except Exception as error:  # noqa: BLE001 - a part that is to run for ever has failed
        machine.failed(error)
