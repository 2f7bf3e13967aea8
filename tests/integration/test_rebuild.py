"""Rebuilding the read model from the log, beside the live one, while the API serves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest

from services.api.read_model.rebuild import rebuild_once
from services.api.read_model.statements import LIVE
from shared.settings import Settings
from tests.support.reader import Reader
from tests.support.servers import NatsProcess
from tests.support.system import Client, System

TABLES = ("chats", "messages")


@pytest.fixture
async def nats_url(data_directory: Path) -> AsyncIterator[str]:
    """Yields a NATS of the test's own: a generator of other tests would add a title between two comparisons."""
    async with NatsProcess(data_directory) as process:
        yield process.url


async def rows(url: str) -> dict[str, list[dict[str, Any]]]:
    connection = await asyncpg.connect(url)
    try:
        return {
            table: [dict(row) for row in await connection.fetch(f"SELECT * FROM {LIVE}.{table} ORDER BY id")]
            for table in TABLES
        }
    finally:
        await connection.close()


async def lived_in(client: Client) -> str:
    """Chats in every state; the cursor of the last fact."""
    asked = await client.ask_new_chat("demo/5x1ms")
    await Reader().read(client, asked["answer"])
    chat = asked["answer"].partition("_")[0]
    again = await client.http.post(f"/v1/answers/{asked['answer']}/regenerate", json={})
    await Reader().read(client, again.json()["answer"])
    await client.http.patch(f"/v1/chats/{chat}", json={"title": "Mine", "metadata": {"a": [1, None]}})
    other = await client.chat(title="to go", system="Be brief.")
    assert (await client.http.delete(f"/v1/chats/{other}")).status_code == 204
    long = await client.ask_new_chat("demo/2000x50ms")
    assert (await client.http.post(f"/v1/answers/{long['answer']}/cancel")).status_code in {200, 202}
    reader = await Reader().read(client, long["answer"])
    assert reader.done is not None
    assert reader.done["status"] == "cancelled"
    return str(reader.done["cursor"])


async def test_a_rebuild_gives_the_same_rows_compared_whole_while_the_api_serves(
    nats_url: str, database: str, server_data: Path
) -> None:
    settings = Settings(
        nats_url=nats_url, postgres_url=database, projector_batch_max=7, rebuild_swap_lag_max=3
    )
    async with System(nats_url, database, server_data, titles=False) as system, system.client() as client:
        cursor = await lived_in(client)
        assert (await client.http.get("/v1/chats", params={"after": cursor})).status_code == 200
        before = await rows(database)
        statuses: set[int] = set()

        async def keep_reading() -> None:
            while True:
                statuses.add((await client.http.get("/v1/chats")).status_code)

        reading = asyncio.create_task(keep_reading())
        sequence = await rebuild_once(settings)
        reading.cancel()
        await asyncio.wait([reading])
        assert sequence >= int(cursor[1:])
        assert await rows(database) == before
        assert statuses == {200}
        asked = await client.ask_new_chat("demo/3x1ms")  # the live projector goes on in the new rows
        reader = await Reader().read(client, asked["answer"])
        assert reader.done is not None
        history = await client.history(asked["answer"].partition("_")[0], after=reader.done["cursor"])
        assert history["messages"][1]["text"] == reader.text


async def test_a_dropped_read_model_is_made_again_from_the_log(
    nats_url: str, database: str, server_data: Path
) -> None:
    async with System(nats_url, database, server_data, titles=False) as system, system.client() as client:
        asked = await client.ask_new_chat("demo/5x1ms")
        reader = await Reader().read(client, asked["answer"])
        assert reader.done is not None
        chat = asked["answer"].partition("_")[0]
        before = await client.history(chat, after=reader.done["cursor"])
    connection = await asyncpg.connect(database)
    await connection.execute(f"DROP SCHEMA {LIVE} CASCADE")
    await connection.close()
    async with System(nats_url, database, server_data, titles=False) as system, system.client() as client:
        async with asyncio.timeout(60):
            while (await client.http.get(f"/v1/chats/{chat}")).status_code != 200:
                continue
        after = await client.history(chat, after=reader.done["cursor"])
    assert msgspec.json.encode(after) == msgspec.json.encode(before)


async def test_one_rebuild_at_a_time_and_a_broken_off_one_leaves_the_live_rows(
    nats_url: str, database: str, server_data: Path
) -> None:
    settings = Settings(nats_url=nats_url, postgres_url=database)
    async with System(nats_url, database, server_data) as system, system.client() as client:
        asked = await client.ask_new_chat("demo/5x1ms")
        assert (await Reader().read(client, asked["answer"])).done is not None
        task = asyncio.create_task(rebuild_once(settings))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert (await client.http.get("/v1/chats")).status_code == 200
        results = await asyncio.gather(*(rebuild_once(settings) for _ in range(3)), return_exceptions=True)
        assert sum(isinstance(result, int) for result in results) >= 1
        assert all(isinstance(result, int) or "another rebuild" in str(result) for result in results)


async def test_tables_of_an_older_version_are_made_anew_by_themselves(
    nats_url: str, database: str, server_data: Path
) -> None:
    async with System(nats_url, database, server_data) as system, system.client() as client:
        asked = await client.ask_new_chat("demo/5x1ms")
        reader = await Reader().read(client, asked["answer"])
        assert reader.done is not None
        await client.history(asked["answer"].partition("_")[0], after=reader.done["cursor"])
    connection = await asyncpg.connect(database)
    await connection.execute(f"UPDATE {LIVE}.checkpoint SET version = 1")
    await connection.execute(f"ALTER TABLE {LIVE}.checkpoint DROP COLUMN mark")
    await connection.execute(f"ALTER TABLE {LIVE}.messages DROP COLUMN left_out")
    await connection.close()
    async with System(nats_url, database, server_data) as system, system.client() as client:
        chat = asked["answer"].partition("_")[0]
        async with asyncio.timeout(60):
            while (await client.http.get(f"/v1/chats/{chat}")).status_code != 200:
                await asyncio.sleep(0.05)
        history = await client.history(chat, after=reader.done["cursor"])
        assert history["messages"][1]["text"] == reader.text
