"""Real NATS and Postgres for tests, on free ports with their own data; tests can kill and restart them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import asyncpg

from infra.chaos.fleet import NatsProcess, PostgresProcess, ServerProcess, free_port, temporary_data

__all__ = [
    "NatsProcess",
    "PostgresProcess",
    "ServerProcess",
    "free_port",
    "new_database",
    "temporary_data",
]


@asynccontextmanager
async def new_database(postgres: PostgresProcess) -> AsyncIterator[str]:
    """Yields the URL of a new, empty database, and drops it at the end."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield postgres.url_of(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
