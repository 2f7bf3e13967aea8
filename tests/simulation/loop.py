"""An event loop with virtual time whose order a seed decides.

Each handle belongs to a process (`PROCESS`, in the handle's context). Within one process, handles run in asyncio's
order; the seed chooses the next process. A killed process never runs again, not even its `finally`; a frozen one
continues later, with everything that arrived meanwhile. When nothing is ready, time jumps to the next timer.
"""

import asyncio
import contextvars
import heapq
import itertools
import random
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.simulation.trace import Violation

T = TypeVar("T")
_TEAR_DOWN_STEPS_MAX = 20_000


class Process:
    """A unit that lives and dies as a whole: all tasks and callbacks that started in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.ready: deque[asyncio.Handle] = deque()
        self.queued = False
        self.context = contextvars.copy_context()
        self.context.run(PROCESS.set, self)

    @property
    def runs(self) -> bool:
        return self.alive and not self.frozen

    def __repr__(self) -> str:
        return self.name


PROCESS: contextvars.ContextVar[Process] = contextvars.ContextVar("simulated process")


class _Ignored(list[str]):
    """A trace that drops its lines, for a run that has ended."""

    def append(self, _line: str) -> None:
        pass


class Deadlock(Exception):
    """No handle is ready and no timer is pending."""


class SimFuture(asyncio.Future[Any]):
    """A future that is hashed by its number, so that sets of futures have the same order in each run."""

    _number = 0

    def __hash__(self) -> int:
        return self._number


class SimTask(asyncio.Task[Any]):
    def __init__(self, number: int, process: Process, work: Any, **options: Any) -> None:
        self._number = number
        self.process = process
        super().__init__(work, **options)

    def __hash__(self) -> int:
        return self._number


class SimLoop(asyncio.BaseEventLoop):
    def __init__(self, random_: random.Random) -> None:
        super().__init__()
        self._random = random_
        self._now = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count(1)
        self._runnable: list[Process] = []
        self.world = Process("world")
        self.tasks: set[SimTask] = set()
        self.steps = 0
        self.failures: list[str] = []
        """The first one ends the run, after the step in which it came."""
        self._ends_at = 0
        self.set_exception_handler(self._failed)

    def time(self) -> float:
        return self._now

    # --- processes -----------------------------------------------------------------------------------

    def spawn(self, process: Process, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task: asyncio.Task[T] = self.create_task(work, context=process.context.copy())
        return task

    def kill(self, process: Process) -> None:
        process.alive = False

    def freeze(self, process: Process) -> None:
        process.frozen = True

    def thaw(self, process: Process) -> None:
        process.frozen = False
        self._queue(process)

    def tear_down(self) -> None:
        """Runs everything again, killed processes included, so that each task ends and none is left over."""
        self.failures = _Ignored()
        for task in sorted(self.tasks, key=hash):
            task.process.alive, task.process.frozen = True, False
            self._queue(task.process)
            task.cancel()
        self._ends_at = self.steps + _TEAR_DOWN_STEPS_MAX
        while self.tasks and self.steps < self._ends_at:  # a `stop` of the run itself may still be on its way
            self.call_soon(_nothing)
            self.run_forever()
        self.close()

    # --- asyncio's own interface ---------------------------------------------------------------------

    def create_future(self) -> "asyncio.Future[Any]":
        future = SimFuture(loop=self)
        future._number = next(self._numbers)
        return future

    def create_task(self, coro: Any, *, name: Any = None, context: Any = None) -> Any:
        number = next(self._numbers)
        process = (context or contextvars.copy_context()).get(PROCESS, self.world)
        task = SimTask(number, process, coro, loop=self, name=name or f"t{number}", context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def call_soon(  # type: ignore[override] # asyncio ties the arguments to the callback
        self, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._enqueue(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    # --- running --------------------------------------------------------------------------------------

    def _enqueue(self, handle: asyncio.Handle) -> None:
        process = handle._context.get(PROCESS, self.world)  # type: ignore[attr-defined]
        process.ready.append(handle)
        self._queue(process)

    def _queue(self, process: Process) -> None:
        if process.runs and not process.queued and process.ready:
            process.queued = True
            self._runnable.append(process)

    def _run_once(self) -> None:
        if self._ends_at and (self.steps > self._ends_at or not (self.tasks or self._runnable)):
            self.stop()
            return
        while not self._runnable:
            self._advance()
        at = int(self._random.random() * len(self._runnable))
        process = self._runnable[at]
        handle = process.ready.popleft() if process.ready and process.runs else None
        if not process.ready or not process.runs:
            process.queued = False
            self._runnable[at] = self._runnable[-1]
            self._runnable.pop()
        if handle is not None and not handle.cancelled():
            handle._run()
            self.steps += 1
            if self.failures:
                raise Violation(self.failures[0])

    def _advance(self) -> None:
        if not self._timers:
            raise Deadlock
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            timer = heapq.heappop(self._timers)[2]
            if not timer.cancelled():
                self._enqueue(timer)

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")


def _nothing() -> None:
    pass
