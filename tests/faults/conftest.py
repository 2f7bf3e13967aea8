"""Servers that a test may kill, and clients that go on where they were."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.servers import NatsProcess, PostgresProcess


@pytest.fixture
async def own_nats(data_directory: Path) -> AsyncIterator[NatsProcess]:
    async with NatsProcess(data_directory) as process:
        yield process


@pytest.fixture
async def own_postgres(data_directory: Path) -> AsyncIterator[PostgresProcess]:
    async with PostgresProcess(data_directory) as process:
        yield process
