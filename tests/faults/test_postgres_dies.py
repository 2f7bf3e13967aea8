"""Postgres dies, or a connection of it: readers get what they asked for, or are told to come again."""

import asyncio
from pathlib import Path

import asyncpg
from msgspec import structs

from services.api.read_model.migrations import migrate
from services.api.read_model.pool import make_pool
from services.api.read_model.queries import ReadModelUnavailable, Reads
from shared.settings import Settings
from tests.support import examples
from tests.support.reader import Reader
from tests.support.servers import NatsProcess, PostgresProcess
from tests.support.system import System

READERS = 30
DEATHS = 10
READS_BETWEEN = 100
LONGER_THAN_A_CLIENT_WAITS_SECONDS = 300.0


class Readers:
    """They read for ever, each as fast as it can."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._more = asyncio.Condition()
        self.done = self.refused = 0

    async def read(self) -> None:
        while True:
            try:
                await self._reads.chat(examples.CHAT)
                await self._reads.chat_state(examples.CHAT)
                await self._reads.position()
            except ReadModelUnavailable:
                self.refused += 1
            async with self._more:
                self.done += 1
                self._more.notify_all()

    async def some(self) -> None:
        until = self.done + READS_BETWEEN
        async with self._more:
            await self._more.wait_for(lambda: self.done >= until)


async def test_a_death_of_postgres_is_never_a_fault_of_ours(own_postgres: PostgresProcess) -> None:
    settings = structs.replace(Settings(), postgres_url=own_postgres.url)
    async with make_pool(settings) as pool:
        async with pool.acquire() as connection:
            await migrate(connection)
        readers = Readers(Reads(pool, settings, None))
        async with asyncio.timeout(110), asyncio.TaskGroup() as group:
            reading = [group.create_task(readers.read()) for _ in range(READERS)]
            for _ in range(DEATHS):
                await readers.some()
                await own_postgres.kill9()
                await own_postgres.start()
            await readers.some()
            for task in reading:
                task.cancel()
        pool.terminate()
    assert 0 < readers.refused < readers.done


async def test_a_read_that_waits_for_a_write_is_served_by_whichever_projector_is_at_work(
    own_nats: NatsProcess, own_postgres: PostgresProcess, data_directory: Path
) -> None:
    async with (
        System(
            own_nats.url,
            own_postgres.url,
            data_directory,
            apis=2,
            read_after_seconds=LONGER_THAN_A_CLIENT_WAITS_SECONDS,
        ) as system,
        system.client(0) as one,
        system.client(1) as two,
    ):
        for _ in range(4):
            await take_the_lock_away(own_postgres)
            asked = await one.ask_new_chat("demo/3x1ms")
            reader = await Reader().read(one, asked["answer"])
            assert reader.done is not None
            for client in (one, two):
                history = await client.history(asked["answer"].partition("_")[0], after=reader.done["cursor"])
                assert history["messages"][1]["text"] == reader.text


async def take_the_lock_away(postgres: PostgresProcess) -> None:
    """The projector that has it is not told; the other one, which tries again and again, may be the next."""
    connection = await asyncpg.connect(postgres.url)
    try:
        holder = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        before = await connection.fetchval(holder)
        await connection.execute("SELECT pg_terminate_backend($1)", before)
        async with asyncio.timeout(30):
            while await connection.fetchval(holder) in {None, before}:
                await asyncio.sleep(0.02)
    finally:
        await connection.close()
