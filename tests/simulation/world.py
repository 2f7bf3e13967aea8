"""One run: a deployment, its clients and its faults, all from one seed."""

import asyncio
import contextlib
import gc
import random
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import structlog
from msgspec import Struct

from shared.domain.subjects import AnswerId, chat_of
from shared.settings import Settings
from tests.simulation.clients import ChatClient
from tests.simulation.loop import PROCESS, Process, SimLoop
from tests.simulation.network import CALM, Weather
from tests.simulation.operator import doubt, look_after
from tests.simulation.processes import Machine, SimApi, SimWorker
from tests.simulation.provider import Moods
from tests.simulation.trace import Trace, Violation

_STORM_SECONDS = 40.0
_SETTLE_SECONDS = 120.0
_RUNS_PER_POWER_CUT = 5


class Plan(Struct, kw_only=True):
    """The parameters of a run."""

    seed: int
    weather: Weather
    moods: Moods
    strikes: int
    pace: float
    """Seconds between two strokes of fate, on the average."""
    outages: float
    """How many of them are outages of the broker."""
    chats: int
    patience: float
    power_cut: bool = False
    """True if the broker may lose acknowledged messages."""


def plan_of(seed: int) -> Plan:
    random_ = random.Random(f"plan {seed}")
    choose = random_.choice
    rough = choose((0.0, 0.0, 0.01, 0.04))
    return Plan(
        seed=seed,
        weather=Weather(
            lost=rough,
            ack_lost=choose((0.0, rough, 0.05)),
            late=choose((0.0, rough)),
            delivery_lost=choose((0.0, 0.0, 0.02)),
            told_lost=choose((0.0, 0.0, 0.9)),
            slow=choose((0.0, 0.02, 0.1)),
            crash=choose((0.0, 0.01, 0.03)),
        ),
        moods=Moods(
            unavailable=choose((0.0, 0.1)),
            refuses=choose((0.0, 0.05)),
            interrupts=choose((0.0, 0.0, 0.05)),
            pace_seconds=choose((0.002, 0.02, 0.3)),
        ),
        strikes=random_.randint(0, 8),
        pace=choose((0.5, 2.0)),
        outages=choose((0.1, 0.2, 0.8)),
        chats=random_.randint(1, 2),
        patience=choose((3.0, 600.0)),
        power_cut=seed % _RUNS_PER_POWER_CUT == 0,
    )


class World:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.loop = SimLoop(self.random)
        self.trace = Trace(self.loop.time)
        settings = Settings(
            worker_append_patience_seconds=plan.patience,
            titles=plan.seed % 4 == 0,
            projector_idle_seconds=3.0,
            projector_retry_seconds=1.0,
            follower_heartbeat_seconds=2.0,
            orphan_check_seconds=5.0,
        )
        self.machine = Machine(self.random, self.loop, settings, plan.moods, self.trace)
        self._strikes_left = plan.strikes
        self._cut_power = plan.power_cut
        self._away_since = 0.0
        self._names = iter(range(1, 1000))
        self.workers: list[SimWorker] = []
        self.apis: list[SimApi] = []
        self._wire()

    def _wire(self) -> None:
        broker, checker, network = self.machine.broker, self.machine.checker, self.machine.network
        broker.stored, broker.purged = checker.stored, checker.purged
        queue = broker.queues["generators"]
        queue.acked, queue.delivered = checker.acked, checker.delivered
        checker.holds = self._holds
        network.strike = self.strike

    def _holds(self, process: Process, answer: AnswerId) -> bool:
        return any(one.process is process and one.holds(answer) for one in self.workers)

    def pick_api(self) -> SimApi:
        """Picks a replica like a load balancer that does not know the latest death yet."""
        return self.random.choice(self.apis)

    # --- misfortunes -------------------------------------------------------------------------------------

    def strike(self, process: Process) -> None:
        """Kills or freezes a process at its current step."""
        if self._strikes_left <= 0 or not process.runs or process is self.loop.world:
            return
        self._strikes_left -= 1
        if self.random.random() < 0.6:
            self._kill(process)
        else:
            self._freeze(process)

    def _kill(self, process: Process) -> None:
        self.trace.add(process, "is killed")
        self.loop.kill(process)
        self.machine.postgres.forget(process)
        self._later(self.random.random() * 3, self._replace, process)

    def _replace(self, process: Process) -> None:
        """Starts a new process in place of a dead one, like a supervisor."""
        if self.machine.network.torn_down:
            return
        for number, worker in enumerate(self.workers):
            if worker.process is process:
                self.workers[number] = self._new_worker()
        for number, api in enumerate(self.apis):
            if api.process is process:
                api.reset_connections()
                self.apis[number] = self._new_api()

    def _freeze(self, process: Process) -> None:
        seconds = self.random.choice((0.3, 2.0, 5.0, 9.0))
        self.trace.add(process, f"is frozen for {seconds} s")
        self.loop.freeze(process)
        self._later(seconds, self._thaw, process)

    def _thaw(self, process: Process) -> None:
        self.trace.add(process, "goes on")
        self.loop.thaw(process)

    def _stop(self, worker: SimWorker) -> None:
        self.trace.add(worker.process, "is asked to stop")
        self.loop.call_soon(worker.worker.stop, context=worker.process.context)
        self._later(3.0, self._kill_if_alive, worker.process)

    def _kill_if_alive(self, process: Process) -> None:
        if process.alive:
            self._kill(process)
        else:
            self._replace(process)

    def _outage(self) -> None:
        if self.machine.broker.away:
            return
        seconds = self.random.choice((0.1, 1.0, 4.0, 7.0))
        self._away_since = self.loop.time()
        self.trace.add("broker", f"is away for {seconds} s")
        self.machine.broker.go_away()
        self._later(seconds, self._back)

    def _back(self) -> None:
        broker = self.machine.broker
        if not broker.away:
            return
        if self._cut_power:
            self._cut_power = False
            seconds = self.random.random() * 0.2
            self.trace.add("broker", f"has lost what came in its last {seconds} s")
            broker.lose_tail(seconds + self.loop.time() - self._away_since)
            self.machine.checker.begin_again()
        self.trace.add("broker", "is back")
        broker.come_back(restarted=self.random.random() < 0.5)

    def _postgres_away(self) -> None:
        self.trace.add("postgres", "is away")
        self.machine.postgres.away = True
        self._later(self.random.random() * 4, self._postgres_back)

    def _postgres_back(self) -> None:
        self.machine.postgres.away = False

    def _later(self, seconds: float, do: Callable[..., None], *arguments: Any) -> None:
        self.loop.call_later(seconds, do, *arguments, context=self.loop.world.context)

    async def _misfortunes(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(1 / self.plan.pace))
            if self._strikes_left <= 0:
                continue
            self._strikes_left -= 1
            if self._cut_power or self.random.random() < self.plan.outages:
                self._outage()
            else:
                self._misfortune(self.random.random())

    def _misfortune(self, kind: float) -> None:
        processes = [one.process for one in self.workers] + [one.process for one in self.apis]
        if kind < 0.6:
            self._strikes_left += 1  # a strike counts itself
            self.strike(self.random.choice(processes))
        elif kind < 0.8:
            self._stop(self.random.choice(self.workers))
        elif kind < 0.9:
            self._postgres_away()
        else:
            self.trace.add("postgres", "cuts the projector's session")
            self.machine.postgres.cut_projector()

    # --- the run ---------------------------------------------------------------------------------------------

    def _new_worker(self) -> SimWorker:
        return SimWorker(self.machine, f"worker-{next(self._names)}")

    def _new_api(self) -> SimApi:
        return SimApi(self.machine, f"api-{next(self._names)}")

    async def _run(self) -> None:
        self.workers += [self._new_worker(), self._new_worker()]
        self.apis += [self._new_api(), self._new_api()]
        self.machine.network.weather = self.plan.weather
        clients = [ChatClient(self, number) for number in range(1, self.plan.chats + 1)]
        asking = [asyncio.create_task(client.run()) for client in clients]
        storm = asyncio.create_task(self._misfortunes())
        operator = asyncio.create_task(look_after(self.machine, self.apis))
        await asyncio.wait(asking, timeout=_STORM_SECONDS)
        storm.cancel()
        self._calm()
        await self._settle(asking, clients)
        operator.cancel()
        self.machine.checker.at_the_end(self.machine.postgres.tables)

    def _calm(self) -> None:
        self.trace.add("world", "is calm")
        self._strikes_left = 0
        self.machine.network.weather = CALM
        self.machine.postgres.away = False
        self._back()

    async def _settle(self, asking: list[Any], clients: list[ChatClient]) -> None:
        until = self.loop.time() + _SETTLE_SECONDS
        while left := self._unsettled(asking, clients):
            if self.loop.time() > until:
                raise Violation(f"it never settles: {left}")
            await asyncio.sleep(0.5)
        for task in (*asking, *(one for client in clients for one in client.reading)):
            task.result()

    def _unsettled(self, asking: list[Any], clients: list[ChatClient]) -> str:
        if not all(task.done() for task in asking):
            return "a client still asks"
        if left := self.machine.checker.settled():
            return left
        if not all(task.done() for client in clients for task in client.reading):
            return "a client still reads"
        queues = self.machine.broker.queues
        if not queues["generators"].idle or (self.machine.settings.titles and not queues["titles"].idle):
            return "the queue holds requests"
        return doubt(self.machine.postgres, self.machine.broker)

    def run(self) -> None:
        """Runs to the end. Raises `Violation`."""
        with _deterministic(self):
            try:
                self.loop.run_until_complete(self.loop.spawn(self.loop.world, self._run()))
            finally:
                self.machine.network.torn_down = True
                self.loop.tear_down()


@contextlib.contextmanager
def _deterministic(world: World) -> Iterator[None]:
    """Disables garbage collection during the run, and writes the services' logs to the run's trace."""
    before = structlog.get_config()

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Any:
        name = event.pop("event")
        if world.machine.network.torn_down:
            raise structlog.DropEvent
        who = PROCESS.get(world.loop.world)
        details = " ".join(
            f"{key}={value}" for key, value in event.items() if key not in {"module", "exc_info"}
        )
        world.trace.add(who, f"{name} {details}")
        if name == "gave-up-for-now":
            world.machine.checker.gave_up.add(who)
        if name == "event-missing" and world.machine.checker.chat(chat_of(event["answer"])).deleted:
            raise structlog.DropEvent  # half of its tokens were purged while they were read
        if name in _NEVER or (name == "projector-stopped" and not world.machine.checker.tail_lost):
            world.loop.failures.append(f"{name} {details} {traceback.format_exc()}")
        raise structlog.DropEvent

    structlog.configure(processors=[keep], cache_logger_on_first_use=False)
    random.seed(world.plan.seed)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        structlog.configure(**before)


_NEVER = {"generation-crashed", "title-failed", "event-missing"}
