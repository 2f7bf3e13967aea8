"""The generator service as a process: `unspool generator`."""

import asyncio
import contextlib
import os
import signal
import sys

from services.generator import metrics
from services.generator.providers.registry import make_registry
from services.generator.worker import Worker
from shared.health_port import HealthPort
from shared.log.event_log import EventLog
from shared.log.protocol import Log
from shared.logging import logger
from shared.metrics import LOG_CONNECTED
from shared.service import run_service
from shared.settings import Settings, load

log = logger(__name__)


def main(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT, hands over the answers in work, and returns the exit status."""
    return run_service("generator", settings, _serve)


async def _serve(settings: Settings) -> int:
    async with contextlib.AsyncExitStack() as stack:
        registry = await make_registry(settings, os.environ)
        stack.push_async_callback(registry.close)
        event_log = await stack.enter_async_context(EventLog.open(settings, "unspool-generator"))
        await event_log.ensure()
        worker = Worker(event_log, registry, settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, worker.stop)
        log.info("worker-started", worker=worker.id)
        metrics.know(registry.names)
        async with _health_port(worker, event_log, settings).open():
            await worker.serve()
        log.info("worker-stopped", worker=worker.id)
    return 0


def _health_port(worker: Worker, event_log: Log, settings: Settings) -> HealthPort:
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
