"""Filling a second schema from the log, and swapping it for the live one: `unspool rebuild`. The API serves meanwhile."""

import asyncio

import asyncpg

from services.api.read_model.checkpoint import Checkpoint, CheckpointMoved
from services.api.read_model.migrations import SCHEMA_VERSION, Renew, make_schema, migrate
from services.api.read_model.pool import make_pool
from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE
from services.api.read_model.projector import fold_batch
from services.api.read_model.statements import BUILDING, LIVE, RETIRED, statements
from shared.domain import subjects
from shared.domain.errors import UnspoolError
from shared.domain.subjects import Sequence
from shared.log.event_log import EventLog
from shared.log.protocol import Log
from shared.logging import logger
from shared.service import run_service
from shared.settings import Settings

log = logger(__name__)

REBUILD_LOCK = 0x756E7372
"""One rebuild of a database at a time, and none while it is verified."""


class RebuildRefused(UnspoolError):
    """Another rebuild is under way, or Postgres is away. The live read model is as it was."""


def main(settings: Settings) -> int:
    """Rebuilds the read model and prints the sequence that it has reached. Returns the exit status."""
    return run_service("rebuild", settings, _rebuild_and_print)


async def _rebuild_and_print(settings: Settings) -> int:
    sequence = await rebuild_once(settings)
    print(f"rebuilt: the read model is made anew, up to sequence {sequence}")  # noqa: T201
    return 0


async def rebuild_once(settings: Settings) -> Sequence:
    """Rebuilds over connections of its own. Raises `RebuildRefused` and `LogUnavailable`."""
    try:
        async with (
            EventLog.open(settings, "unspool-rebuild") as event_log,
            make_pool(settings) as pool,
            pool.acquire() as connection,
        ):
            return await rebuild(event_log, connection, settings)
    except POSTGRES_UNAVAILABLE as error:
        raise RebuildRefused(f"Postgres does not answer: {error!r}") from error


async def rebuild(event_log: Log, connection: asyncpg.Connection, settings: Settings) -> Sequence:
    """Returns the sequence up to which the new rows are folded. What fails before the swap leaves all as it was."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", REBUILD_LOCK):
        raise RebuildRefused("another rebuild is under way, or `unspool verify`")
    try:
        await migrate(connection)
        checkpoint = await _begun(event_log, connection)
        checkpoint = await _caught_up(
            event_log, connection, checkpoint, settings, settings.rebuild_swap_lag_max
        )
        return await _swapped(event_log, connection, checkpoint, settings)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", REBUILD_LOCK)


def renewal(event_log: Log, settings: Settings) -> Renew:
    """For a projector that finds tables of an older version."""

    async def renew(connection: asyncpg.Connection) -> None:
        try:
            await rebuild(event_log, connection, settings)
        except (
            RebuildRefused
        ) as error:  # another process is at it, and gives no signal: look again a little later
            await asyncio.sleep(settings.projector_retry_seconds)
            raise CheckpointMoved(str(error)) from error

    return renew


async def _begun(event_log: Log, connection: asyncpg.Connection) -> Checkpoint:
    position = await event_log.position(subjects.CHATS)
    async with connection.transaction():
        await connection.execute(
            f"DROP SCHEMA IF EXISTS {BUILDING} CASCADE"
        )  # of a rebuild that was broken off
        await make_schema(connection, BUILDING)
        await connection.execute(statements(BUILDING)["begin"], position.created, SCHEMA_VERSION)
    return Checkpoint(Sequence(0), position.created, SCHEMA_VERSION)


async def _caught_up(
    event_log: Log,
    connection: asyncpg.Connection,
    checkpoint: Checkpoint,
    settings: Settings,
    lag_max: int,
) -> Checkpoint:
    """Until no more than so many facts are missing."""
    while True:
        last = (await event_log.position(subjects.CHATS)).last
        batch = await event_log.scan(subjects.CHATS, checkpoint.position, settings.projector_batch_max)
        if not batch:
            return checkpoint
        checkpoint = await fold_batch(connection, BUILDING, checkpoint, batch)
        log.info("rebuilding", sequence=checkpoint.position, last=last)
        if last - checkpoint.position <= lag_max and lag_max:
            return checkpoint


async def _swapped(
    event_log: Log, connection: asyncpg.Connection, checkpoint: Checkpoint, settings: Settings
) -> Sequence:
    """The rest and the swap in one transaction; the live projector waits for it at its checkpoint's row.

    Readers never see rows older than those they had: the new ones are folded at least as far as the live ones were.
    """
    async with connection.transaction():
        await connection.execute(f"SELECT FROM {LIVE}.checkpoint FOR UPDATE")
        checkpoint = await _caught_up(event_log, connection, checkpoint, settings, 0)
        # Columns that every version has had: the live rows may be an older one's.
        live = await connection.fetchrow(statements()["reached"])
        last = (await event_log.position(subjects.CHATS)).last
        # Live rows that are ahead of the log itself are of a tail that it lost: those are to go.
        same_log = live is not None and live["created"] == checkpoint.created
        if same_log and checkpoint.position < min(live["position"], last):
            raise CheckpointMoved("the log could not be read as far as the live rows have come; try again")
        await connection.execute(f"ALTER SCHEMA {LIVE} RENAME TO {RETIRED}")
        await connection.execute(f"ALTER SCHEMA {BUILDING} RENAME TO {LIVE}")
        await connection.execute(f"DROP SCHEMA {RETIRED} CASCADE")
    return checkpoint.position
