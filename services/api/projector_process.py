"""The projector as a separate process: `unspool projector`. API processes then run with `UNSPOOL_PROJECTOR=false`."""

import asyncio
import signal

from prometheus_client import REGISTRY

from services.api import metrics
from services.api.read_model.pool import make_pool
from services.api.read_model.projector import Projector
from services.api.read_model.rebuild import make_renew
from shared.domain import subjects
from shared.health_port import HealthPort
from shared.log.event_log import EventLog
from shared.log.follower import Follower
from shared.log.protocol import Log
from shared.metrics import LOG_CONNECTED
from shared.service import run_service
from shared.settings import Settings

# Only these series: the metrics of the API would be 0 in this process and look like real values.
_SERIES = ("unspool_projector_state", "unspool_log_connected")


def main(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT and returns the exit status. Prints a single line if the start fails."""
    return run_service("projector", settings, _serve)


async def _serve(settings: Settings) -> int:
    async with EventLog.open(settings, "unspool-projector") as event_log:
        await event_log.ensure()
        async with make_pool(settings) as pool:
            projector = Projector(event_log, pool, settings, make_renew(event_log, settings))
            follower = Follower(event_log, subjects.CHATS, projector.news, settings)
            port = _health_port(projector, event_log, settings)
            async with port.open(), asyncio.TaskGroup() as group:
                tasks = [group.create_task(projector.run()), group.create_task(follower.run())]
                for number in (signal.SIGTERM, signal.SIGINT):
                    asyncio.get_running_loop().add_signal_handler(number, _cancel_all, tasks)
    return 0


def _health_port(projector: Projector, event_log: Log, settings: Settings) -> HealthPort:
    def not_ready() -> str:
        return projector.reason or ("" if event_log.connected else "the log is not connected")

    def measure() -> None:
        metrics.set_projector_state(projector.state)
        LOG_CONNECTED.set(event_log.connected)

    return HealthPort(
        settings.projector_port,
        settings,
        not_ready=not_ready,
        measure=measure,
        registry=REGISTRY.restricted_registry(_SERIES),
    )


def _cancel_all(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
