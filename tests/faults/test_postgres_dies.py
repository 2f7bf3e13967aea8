"""Postgres dies under readers again and again: each of them gets what it asked for, or is told to come again."""

import asyncio

from msgspec import structs

from services.api.pool import make_pool
from services.api.projector import migrate
from services.api.reads import ReadModelUnavailable, Reads
from shared.settings import Settings
from tests import examples
from tests.servers import PostgresProcess

READERS = 30
DEATHS = 10
READS_BETWEEN = 300


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
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
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
