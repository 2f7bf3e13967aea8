"""A transaction that Postgres ends by itself is repeated; it does not end a part of a process."""

import asyncio

import asyncpg
import pytest

from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE


async def test_a_transaction_that_postgres_ended_for_a_deadlock_may_be_repeated(database: str) -> None:
    one, other = await asyncpg.connect(database), await asyncpg.connect(database)
    try:
        await one.execute("CREATE TABLE first (); CREATE TABLE second ()")
        await one.execute("BEGIN; LOCK TABLE first")
        await other.execute("BEGIN; LOCK TABLE second")
        ends = await asyncio.gather(
            one.execute("LOCK TABLE second"), other.execute("LOCK TABLE first"), return_exceptions=True
        )
        (error,) = (end for end in ends if isinstance(end, BaseException))
        assert isinstance(error, asyncpg.DeadlockDetectedError)
        assert isinstance(error, POSTGRES_UNAVAILABLE)
    finally:
        await one.close()
        await other.close()


async def test_a_statement_that_is_wrong_is_no_outage(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        with pytest.raises(asyncpg.PostgresError) as raised:
            await connection.execute("SELECT * FROM nowhere")
        assert not isinstance(raised.value, POSTGRES_UNAVAILABLE)
    finally:
        await connection.close()
