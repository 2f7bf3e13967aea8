"""The embedded servers: what kill -9 and a second start do to them."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from tests.support.servers import NatsProcess, PostgresProcess, ServerProcess


async def _rows(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [row["word"] for row in await connection.fetch("SELECT word FROM words ORDER BY word")]
    finally:
        await connection.close()


async def _write(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def test_postgres_keeps_what_was_committed_before_a_kill_9(data_directory: Path) -> None:
    async with PostgresProcess(data_directory) as postgres:
        await _write(postgres.url, "CREATE TABLE words (word text)")
        await _write(postgres.url, "INSERT INTO words VALUES ('kept')")
        await postgres.kill9()
        await postgres.start()
        assert await _rows(postgres.url) == ["kept"]


@pytest.mark.parametrize("kind", [NatsProcess, PostgresProcess])
async def test_a_restarted_server_has_the_same_url(
    data_directory: Path, kind: Callable[[Path], ServerProcess]
) -> None:
    async with kind(data_directory) as server:
        url = server.url
        await server.restart()
        assert server.url == url


async def test_postgres_starts_although_a_stale_pid_file_names_a_living_stranger(
    data_directory: Path,
) -> None:
    async with PostgresProcess(data_directory) as postgres:
        pid_file = data_directory / "postgres" / "postmaster.pid"
        text = pid_file.read_text()
        await postgres.kill9()
        stranger = await asyncio.create_subprocess_exec("sleep", "60")
        try:
            pid_file.write_text("\n".join([str(stranger.pid), *text.splitlines()[1:]]))
            await postgres.start()
            assert stranger.returncode is None
        finally:
            stranger.kill()
            await stranger.wait()


async def test_nats_keeps_out_who_does_not_know_its_password(nats: NatsProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", nats.port)
    writer.write(b'CONNECT {"verbose":false}\r\nPING\r\n')
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"Authorization Violation" in answer


async def test_each_test_has_a_database_of_its_own(database: str) -> None:
    await _write(database, "CREATE TABLE words (word text)")
    assert await _rows(database) == []


async def test_upper_and_lower_case_are_known_beyond_ascii(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        assert await connection.fetchval("SELECT 'ÄRGER' ILIKE 'ärger'")
    finally:
        await connection.close()
