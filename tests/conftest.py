"""Servers that tests share. Each test that writes to Postgres has its own database."""

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.servers import NatsProcess, PostgresProcess, new_database, temporary_data
from tests.support.system import System

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what is to run in the background deaf to Ctrl-C, and all that is started from there with it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: a machine that is busy is no failure, and no test asserts a time.
hypothesis.settings.register_profile("unspool", deadline=None)
hypothesis.settings.load_profile("unspool")


@pytest.fixture(scope="session")
def server_data() -> Iterator[Path]:
    with temporary_data() as path:
        yield path


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """Yields a directory for a test's own servers: `NatsProcess(data_directory)`."""
    with temporary_data() as path:
        yield path


@pytest.fixture(scope="session")
async def nats(server_data: Path) -> AsyncIterator[NatsProcess]:
    async with NatsProcess(server_data) as process:
        yield process


@pytest.fixture(scope="session")
async def postgres(server_data: Path) -> AsyncIterator[PostgresProcess]:
    async with PostgresProcess(server_data) as process:
        yield process


@pytest.fixture(scope="session")
def nats_url(nats: NatsProcess) -> str:
    """Returns the URL of one NATS for the session. Tests share its streams and use different chat ids."""
    return nats.url


@pytest.fixture(scope="session")
def postgres_url(postgres: PostgresProcess) -> str:
    return postgres.url


@pytest.fixture
async def database(postgres: PostgresProcess) -> AsyncIterator[str]:
    async with new_database(postgres) as url:
        yield url


@pytest.fixture(scope="session")
async def system(nats: NatsProcess, postgres: PostgresProcess, server_data: Path) -> AsyncIterator[System]:
    """Yields two APIs and a generator, for tests that kill none of them."""
    async with System(nats.url, postgres.url, server_data, apis=2) as made:
        yield made
