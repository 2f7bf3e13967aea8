"""The generator service as a process: `unspool generator`."""

import asyncio
import contextlib
import os
import signal
import sys

from services.generator import metrics
from services.generator.providers.registry import make_registry
from services.generator.worker import Worker
from shared.domain.errors import UnspoolError
from shared.health_port import HealthPort
from shared.log.event_log import EventLog
from shared.logging import configure, logger
from shared.metrics import LOG_CONNECTED
from shared.settings import Settings, load

log = logger(__name__)


def main(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT, then hands over what it has. Returns an exit status."""
    configure(settings, "generator")
    try:
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings))
    except UnspoolError as error:
        print(f"unspool generator: {error}", file=sys.stderr)  # noqa: T201 - for the person who starts it
        return 1
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.Loop


async def _serve(settings: Settings) -> None:
    registry = await make_registry(settings, os.environ)
    event_log = await EventLog.connect(settings, "unspool-generator")
    try:
        await event_log.ensure()
        worker = Worker(event_log, registry, settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        log.info("worker-started", worker=worker.id)
        metrics.know(registry.names)
        async with _health_port(worker, event_log, settings).open():
            await worker.serve()
        log.info("worker-stopped", worker=worker.id)
    finally:
        await event_log.close()
        await registry.close()


def _health_port(worker: Worker, event_log: EventLog, settings: Settings) -> HealthPort:
    def not_ready() -> str:
        if worker.stopping:
            return "stopping"
        return "" if event_log.connected else "the log is not connected"

    def measure() -> None:
        metrics.IN_FLIGHT.set(worker.in_flight)
        metrics.ROOM.set(settings.answers_in_flight_max)
        LOG_CONNECTED.set(event_log.connected)

    return HealthPort(settings.generator_port, settings, not_ready=not_ready, measure=measure)


if __name__ == "__main__":
    sys.exit(main(load()))
