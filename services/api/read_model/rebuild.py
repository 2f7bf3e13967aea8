"""`unspool rebuild`: fills a second schema from the log and swaps it for the live one, while the API serves."""

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
"""The advisory lock of rebuilds and verifications: one of them at a time per database."""


class RebuildRefused(UnspoolError):
    """Another rebuild is running, or Postgres is unavailable. The live read model did not change."""


def main(settings: Settings) -> int:
    """Rebuilds the read model and prints the sequence that it has reached. Returns the exit status."""
    return run_service("rebuild", settings, _rebuild_and_print)


async def _rebuild_and_print(settings: Settings) -> int:
    sequence = await rebuild_once(settings)
    print(f"rebuilt the read model up to sequence {sequence}")  # noqa: T201
    return 0


async def rebuild_once(settings: Settings) -> Sequence:
    """Rebuilds over its own connections. Returns the reached sequence. Raises `RebuildRefused` and `LogUnavailable`."""
    try:
        async with (
            EventLog.open(settings, "unspool-rebuild") as event_log,
            make_pool(settings) as pool,
            pool.acquire() as connection,
        ):
            return await rebuild(event_log, connection, settings)
    except POSTGRES_UNAVAILABLE as error:
        raise RebuildRefused(f"Postgres is unavailable: {error!r}") from error


async def rebuild(event_log: Log, connection: asyncpg.Connection, settings: Settings) -> Sequence:
    """Returns the sequence up to which the new rows are folded. A failure before the swap changes nothing."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", REBUILD_LOCK):
        raise RebuildRefused("another rebuild or `unspool verify` is running: try again when it has ended")
    try:
        await migrate(connection)
        checkpoint = await _begin(event_log, connection)
        checkpoint = await _catch_up(
            event_log, connection, checkpoint, settings, settings.rebuild_swap_lag_max
        )
        return await _swap(event_log, connection, checkpoint, settings)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", REBUILD_LOCK)


def make_renew(event_log: Log, settings: Settings) -> Renew:
    """Returns the rebuild for a projector that finds tables of an older version."""

    async def renew(connection: asyncpg.Connection) -> None:
        try:
            await rebuild(event_log, connection, settings)
        except RebuildRefused as error:  # Another process rebuilds and gives no signal: check again later.
            await asyncio.sleep(settings.projector_retry_seconds)
            raise CheckpointMoved(str(error)) from error

    return renew


async def _begin(event_log: Log, connection: asyncpg.Connection) -> Checkpoint:
    position = await event_log.position(subjects.CHATS)
    async with connection.transaction():
        await connection.execute(
            f"DROP SCHEMA IF EXISTS {BUILDING} CASCADE"
        )  # left by an interrupted rebuild
        await make_schema(connection, BUILDING)
        await connection.execute(statements(BUILDING)["begin"], position.created, SCHEMA_VERSION)
    return Checkpoint(Sequence(0), position.created, SCHEMA_VERSION)


async def _catch_up(
    event_log: Log,
    connection: asyncpg.Connection,
    checkpoint: Checkpoint,
    settings: Settings,
    lag_max: int,
) -> Checkpoint:
    """Folds facts until at most `lag_max` are missing."""
    while True:
        last = (await event_log.position(subjects.CHATS)).last
        batch = await event_log.scan(subjects.CHATS, checkpoint.position, settings.projector_batch_max)
        if not batch:
            return checkpoint
        checkpoint = await fold_batch(connection, BUILDING, checkpoint, batch)
        log.info("rebuilding", sequence=checkpoint.position, last=last)
        if last - checkpoint.position <= lag_max and lag_max:
            return checkpoint


async def _swap(
    event_log: Log, connection: asyncpg.Connection, checkpoint: Checkpoint, settings: Settings
) -> Sequence:
    """Folds the rest and swaps the schemas in one transaction; the live projector waits at its checkpoint's row.

    Readers never see older rows than before: the new rows are folded at least as far as the live ones.
    """
    async with connection.transaction():
        await connection.execute(f"SELECT FROM {LIVE}.checkpoint FOR UPDATE")
        checkpoint = await _catch_up(event_log, connection, checkpoint, settings, 0)
        # Select only columns that every version has: the live rows may be of an older version.
        live = await connection.fetchrow(statements()["reached"])
        last = (await event_log.position(subjects.CHATS)).last
        # Live rows ahead of the log belong to a lost tail and must be replaced.
        same_log = live is not None and live["created"] == checkpoint.created
        if same_log and checkpoint.position < min(live["position"], last):
            raise CheckpointMoved("the log could not be read up to the position of the live rows: try again")
        await connection.execute(f"ALTER SCHEMA {LIVE} RENAME TO {RETIRED}")
        await connection.execute(f"ALTER SCHEMA {BUILDING} RENAME TO {LIVE}")
        await connection.execute(f"DROP SCHEMA {RETIRED} CASCADE")
    return checkpoint.position
