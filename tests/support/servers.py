"""Real NATS and Postgres for tests, on free ports with their own data; tests can kill and restart them."""

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from uuid import uuid4

import asyncpg

from infra.chaos import fleet
from infra.chaos.fleet import NatsProcess, ServerProcess, free_port, temporary_data
from infra.local.data_directory import DataDirectory

__all__ = [
    "NatsProcess",
    "PostgresProcess",
    "ServerProcess",
    "free_port",
    "new_database",
    "temporary_data",
]

_CLUSTER = "postgres"


class PostgresProcess(fleet.PostgresProcess):
    """A Postgres server with its data below the directory, without fsync. Its cluster is a copy: `initdb` is slow."""

    def __init__(self, data: Path) -> None:
        super().__init__(data)
        self._data = data

    async def start(self) -> None:
        """Starts the server and returns when it is ready. The first start copies the template's cluster."""
        if not (self._data / _CLUSTER).exists():
            template = _template_directory()
            if not (template / "complete").exists():
                async with fleet.PostgresProcess(template):
                    pass
                (template / "complete").touch()
            for name in (_CLUSTER, DataDirectory(template).secret_file(_CLUSTER).relative_to(template)):
                await _copy(template / name, self._data / name)
        await super().start()


@cache
def _template_directory() -> Path:
    """Returns the directory of this process' template, which is deleted at its end."""
    path = Path(tempfile.mkdtemp(prefix="unspool-test-template-"))
    path.chmod(0o755)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


async def _copy(source: Path, target: Path) -> None:
    """Copies with owners and modes: root's Postgres runs as another user."""
    target.parent.mkdir(parents=True, exist_ok=True)
    copying = await asyncio.create_subprocess_exec("cp", "-a", str(source), str(target))
    assert await copying.wait() == 0


@asynccontextmanager
async def new_database(postgres: fleet.PostgresProcess) -> AsyncIterator[str]:
    """Yields the URL of a new, empty database, and drops it at the end."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield postgres.url_of(name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
