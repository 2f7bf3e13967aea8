"""A person who watches `/readyz` and does what it says. It is the only way to learn that the log lost its tail."""

import asyncio
from collections.abc import Iterable
from typing import Any

from services.api.read_model.checkpoint import LOST, mark_of
from services.api.read_model.migrations import SCHEMA_VERSION
from services.api.read_model.projections import project
from shared.domain import subjects
from shared.domain.events import Fact
from tests.simulation.broker import Broker
from tests.simulation.postgres import Postgres
from tests.simulation.processes import Machine, SimApi
from tests.simulation.tables import Tables

_LONGEST_WAIT_SECONDS = 5.0


async def look_after(machine: Machine, apis: list[SimApi]) -> None:
    """Watches and repairs until it is cancelled."""
    while True:
        await asyncio.sleep(machine.random.random() * _LONGEST_WAIT_SECONDS)
        if any("unspool rebuild" in reason for reason in _red(apis)) and not _is_held_up(machine):
            machine.trace.add("operator", "rebuilds the read model")
            machine.postgres.tables = rebuilt(machine.broker)


def _red(apis: list[SimApi]) -> Iterable[str]:
    for api in apis:
        projector = api.here.projector
        if api.process.runs and projector is not None and projector.state == "stopped":
            yield projector.reason


def _is_held_up(machine: Machine) -> bool:
    """Returns True if its last transaction waits for another one at the checkpoint, which needs both servers."""
    return machine.postgres.checkpoint_lock is not None or machine.postgres.away or machine.broker.away


def rebuilt(broker: Broker) -> Tables:
    """Returns the tables that `unspool rebuild` makes from the log."""
    tables, created = Tables(), broker.position(subjects.CHATS).created
    tables.execute("begin", (created, SCHEMA_VERSION))
    reached = 0
    for stored in broker.streams[subjects.CHATS].messages.values():
        tables.execute("advance", (reached, stored.sequence, created, mark_of(stored)))
        reached = stored.sequence
        assert isinstance(stored.event, Fact)
        for name, rows in project([(stored.event, stored.sequence, stored.time)]):
            for arguments in rows:
                tables.execute(name, arguments)
    return tables


def doubt(postgres: Postgres, broker: Broker) -> str:
    """Returns why the read model does not match the log; empty if it may match."""
    chats = broker.streams[subjects.CHATS]
    row: dict[str, Any] = postgres.tables.checkpoint or {"position": -1, "mark": ""}
    if row["position"] < max(chats.messages, default=0):
        return "the read model is behind"
    folded = chats.messages.get(row["position"])
    other = folded is not None and row["mark"] != mark_of(folded)
    if row["position"] > chats.last_sequence or row["mark"] == LOST or other:
        return "the read model is of what the log has lost"
    return ""
