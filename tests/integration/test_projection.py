"""The read model: a function of the facts, whatever is folded twice, from where, and by whom."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.api.read_model.checkpoint import (
    Checkpoint,
    CheckpointMoved,
    ProjectorStopped,
    check_incarnation,
    read_checkpoint,
)
from services.api.read_model.migrations import SCHEMA_VERSION, make_schema, migrate
from services.api.read_model.projector import fold_batch
from services.api.read_model.queries import Reads
from services.api.read_model.statements import LIVE, statements
from shared.domain.chat import ChatState
from shared.domain.subjects import ChatId, Sequence
from shared.log.recorded import Recorded, record
from shared.settings import Settings
from tests.support import examples
from tests.support.histories import History, histories

CREATED = "the log of this test"


@pytest.fixture
async def pool(database: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database, min_size=0, max_size=5) as made:
        async with made.acquire() as connection:
            await connection.execute("SET synchronous_commit = off")
        yield made


async def empty(connection: asyncpg.Connection) -> Checkpoint:
    await connection.execute(f"DROP SCHEMA IF EXISTS {LIVE} CASCADE")
    await make_schema(connection, LIVE)
    await connection.execute(statements()["begin"], CREATED, SCHEMA_VERSION)
    return Checkpoint(Sequence(0), CREATED, SCHEMA_VERSION)


async def rows(connection: asyncpg.Connection) -> dict[str, list[dict[str, Any]]]:
    """Everything, compared whole."""
    return {
        table: [dict(row) for row in await connection.fetch(f"SELECT * FROM {LIVE}.{table} ORDER BY id")]
        for table in ("chats", "messages")
    }


async def fold(connection: asyncpg.Connection, stored: list[Recorded], sizes: list[int]) -> Checkpoint:
    checkpoint, at = await empty(connection), 0
    for size in (*sizes, len(stored)):
        if batch := stored[at : at + size]:
            checkpoint = await fold_batch(connection, LIVE, checkpoint, batch)
        at += size
    return checkpoint


SLOW = hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SLOW
@given(history=histories(), sizes=st.lists(st.integers(1, 8), max_size=10), again=st.integers(0, 40))
async def test_the_same_events_projected_in_any_batches_and_again_from_any_checkpoint_give_the_same_rows(
    pool: asyncpg.Pool, history: History, sizes: list[int], again: int
) -> None:
    stored = history.stored()
    async with pool.acquire() as connection:
        await fold(connection, stored, [len(stored)])
        once = await rows(connection)
        checkpoint = await fold(connection, stored, sizes)
        assert await rows(connection) == once
        # As after a crash that lost the checkpoint but not the rows: the rest is folded once more.
        back = Sequence(min(again, len(stored)))
        await connection.execute(f"UPDATE {LIVE}.checkpoint SET position = $1", back)
        if rest := stored[back:]:
            earlier = Checkpoint(back, CREATED, SCHEMA_VERSION)
            assert await fold_batch(connection, LIVE, earlier, rest) == checkpoint
        assert await rows(connection) == once


@SLOW
@given(history=histories())
async def test_a_state_made_of_rows_is_the_state_made_of_facts(pool: asyncpg.Pool, history: History) -> None:
    reads = Reads(pool, Settings(), None)
    async with pool.acquire() as connection:
        await fold(connection, history.stored(), [])
    for chat, state in history.states.items():
        found, checkpoint = await reads.chat_state(chat)
        assert checkpoint is not None
        assert checkpoint.position == len(history.facts)
        assert found == (state if state.exists else ChatState(chat))


async def test_a_zombie_projector_fails_at_the_checkpoint_and_writes_nothing(pool: asyncpg.Pool) -> None:
    history = History()
    history.states[examples.CHAT] = ChatState(examples.CHAT)
    for fact in (examples.chat_created(), examples.message_requested(1), examples.answer_completed(1)):
        history.append(fact)
    stored = history.stored()
    async with pool.acquire() as connection:
        old = await empty(connection)
        await fold_batch(connection, LIVE, old, stored[:2])
        before = await rows(connection)
        with pytest.raises(CheckpointMoved):
            await fold_batch(connection, LIVE, old, stored)
        assert await rows(connection) == before


async def test_what_was_said_in_a_chat_before_it_was_deleted_is_folded_once_more_without_harm(
    pool: asyncpg.Pool,
) -> None:
    history = History()
    history.states[examples.CHAT] = ChatState(examples.CHAT)
    facts = (
        examples.chat_created(),
        examples.message_requested(1),
        examples.answer_completed(1),
        examples.answer_requested(2),
        examples.chat_deleted(),
    )
    for fact in facts:
        history.append(fact)
    stored = history.stored()
    async with pool.acquire() as connection:
        await fold(connection, stored, [])
        await connection.execute(f"UPDATE {LIVE}.checkpoint SET position = 1")
        await fold_batch(connection, LIVE, Checkpoint(Sequence(1), CREATED, SCHEMA_VERSION), stored[1:])
        assert await rows(connection) == {"chats": [], "messages": []}


async def test_an_event_that_cannot_be_decoded_stops_the_projector_after_what_came_before_it(
    pool: asyncpg.Pool,
) -> None:
    history = History()
    history.states[examples.CHAT] = ChatState(examples.CHAT)
    history.append(examples.chat_created(title="folded"))
    (good,) = history.stored()
    poison = record(good.subject, Sequence(2), good.time, b'{"type":"chat-exploded.v9"}')
    async with pool.acquire() as connection:
        with pytest.raises(ProjectorStopped, match="sequence 2"):
            await fold_batch(connection, LIVE, await empty(connection), [good, poison])
        assert (await rows(connection))["chats"][0]["title"] == "folded"
        checkpoint = await read_checkpoint(connection, LIVE)
        assert checkpoint is not None
        assert checkpoint.position == 1


def test_another_log_or_one_that_lost_its_tail_is_not_projected_on() -> None:
    checkpoint = Checkpoint(Sequence(10), "one", SCHEMA_VERSION)
    check_incarnation(checkpoint, "one", Sequence(10))
    with pytest.raises(ProjectorStopped, match="unspool rebuild"):
        check_incarnation(checkpoint, "two", Sequence(10))
    with pytest.raises(ProjectorStopped, match="lost its tail"):
        check_incarnation(checkpoint, "one", Sequence(9))


async def test_migrations_run_once_however_many_start_at_once(pool: asyncpg.Pool) -> None:
    async def one() -> None:
        async with pool.acquire() as connection:
            await migrate(connection)

    await asyncio.gather(*(one() for _ in range(5)))
    reads = Reads(pool, Settings(), None)
    assert await reads.chat_state(ChatId("none")) == (ChatState(ChatId("none")), None)
