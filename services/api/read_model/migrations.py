"""Makes the tables of the read model. Rows are a function of the log: a new version of the tables is a rebuild."""

from collections.abc import Awaitable, Callable

import asyncpg

from services.api.read_model.statements import LIVE, tables

SCHEMA_VERSION = 3
_MIGRATION_LOCK = 0x756E7371  # "unsq": one process makes the tables of a database

Renew = Callable[[asyncpg.Connection], Awaitable[object]]
"""Rebuilds the tables in this version. Raises `CheckpointMoved` when another process does it."""


async def migrate(connection: asyncpg.Connection) -> None:
    """Makes the tables where there are none. Many processes may call it at once: an advisory lock lets one pass."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        if not await schema_exists(connection, LIVE):
            await make_schema(connection, LIVE)


async def schema_exists(connection: asyncpg.Connection, schema: str) -> bool:
    return bool(await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", schema))


async def make_schema(connection: asyncpg.Connection, schema: str) -> None:
    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public")
    await connection.execute(f"CREATE SCHEMA {schema}")
    await connection.execute(tables(schema))
