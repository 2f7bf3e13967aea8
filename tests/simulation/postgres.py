"""The part of asyncpg that the projector and the reads use: a pool, connections, transactions and locks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from services.api.read_model.statements import LIVE, statements
from tests.simulation.loop import Process, SimLoop
from tests.simulation.network import Network
from tests.simulation.tables import Row, Tables

_POLL_SECONDS = 0.05


class Postgres:
    """The server: committed rows, and the holders of locks."""

    def __init__(self, loop: SimLoop, network: Network) -> None:
        self.loop = loop
        self.network = network
        self.tables = Tables()
        self.away = False
        self.advisory: SimConnection | None = None
        self.checkpoint_lock: SimConnection | None = None

    def release(self, connection: "SimConnection") -> None:
        if self.advisory is connection:
            self.advisory = None
        if self.checkpoint_lock is connection:
            self.checkpoint_lock = None

    def forget(self, process: Process) -> None:
        """Ends the sessions and transactions of a dead process."""
        for holder in (self.advisory, self.checkpoint_lock):
            if holder is not None and holder.process is process:
                self.release(holder)

    def cut_projector(self) -> None:
        """Ends the session that holds the projector's lock; its owner may not have noticed."""
        if self.advisory is not None:
            self.advisory.broken = True
            self.release(self.advisory)


class SimPool:
    def __init__(self, postgres: Postgres, process: Process) -> None:
        self._postgres = postgres
        self._process = process

    @contextlib.asynccontextmanager
    async def acquire(self) -> AsyncIterator["SimConnection"]:
        connection = SimConnection(self._postgres, self._process)
        await connection.trip()
        try:
            yield connection
        finally:
            if self._process.alive:
                self._postgres.release(connection)


class SimConnection:
    def __init__(self, postgres: Postgres, process: Process) -> None:
        self.process = process
        self.broken = False
        self._postgres = postgres
        self._buffer: list[tuple[str, tuple[Any, ...]]] | None = None

    def is_closed(self) -> bool:
        """Returns False always: an unnoticed loss of the other machine is the harder case."""
        return False

    async def trip(self) -> None:
        """Sends a request to the server and awaits the reply; the process may die in between."""
        network = self._postgres.network
        if network.torn_down or self._postgres.away or self.broken:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        network.maybe_strike(self.process)
        await asyncio.sleep(network.latency())
        if self.broken:  # the session ended meanwhile: the server does not execute what it still sends
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        if network.weather.lost and network.latency() > 0.1:
            self.broken = True
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    @contextlib.asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        """Buffers writes and commits them as one. No statement here reads what its own transaction wrote."""
        readonly = options.get("readonly", False)
        self._snapshot = self._postgres.tables.snapshot() if readonly else None
        self._buffer = []
        try:
            yield
            await self.trip()
            for name, arguments in self._buffer:
                self._postgres.tables.execute(name, arguments)
        finally:
            self._buffer, self._snapshot = None, None
            if self._postgres.checkpoint_lock is self:
                self._postgres.checkpoint_lock = None
        if not readonly:
            await self.trip()  # the commit stands, and its acknowledgement may be lost

    _snapshot: Tables | None = None

    async def execute(self, sql: str, *arguments: Any) -> str:
        await self.trip()
        if "pg_advisory_unlock" in sql and self._postgres.advisory is self:
            self._postgres.advisory = None
        name = _name(sql)
        if name is None:
            return "DONE"
        if self._buffer is None:
            return self._postgres.tables.execute(name, arguments)
        if name == "advance":
            return await self._advance(name, arguments)
        self._buffer.append((name, arguments))
        return "DONE"

    async def executemany(self, sql: str, rows: list[tuple[Any, ...]]) -> None:
        await self.trip()
        name = _name(sql)
        assert name is not None, sql
        assert self._buffer is not None, sql
        self._buffer += [(name, arguments) for arguments in rows]

    async def _advance(self, name: str, arguments: tuple[Any, ...]) -> str:
        """Holds the row's lock until the end of the transaction: a second writer sees the first one's write."""
        assert self._buffer is not None
        while self._postgres.checkpoint_lock not in {None, self}:
            await asyncio.sleep(_POLL_SECONDS)
        self._postgres.checkpoint_lock = self
        self._buffer.append((name, arguments))
        old, _new, created, _mark = arguments
        return f"UPDATE {int(self._postgres.tables.may_advance(old, created))}"

    async def fetch(self, sql: str, *arguments: Any) -> list[Row]:
        await self.trip()
        name = _name(sql)
        assert name is not None, sql
        return (self._snapshot or self._postgres.tables).fetch(name, arguments)

    async def fetchrow(self, sql: str, *arguments: Any) -> Row | None:
        rows = await self.fetch(sql, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *arguments: Any) -> Any:
        if "pg_try_advisory_lock" in sql:
            await self.trip()
            if self._postgres.advisory is None:
                self._postgres.advisory = self
            return self._postgres.advisory is self
        if "to_regnamespace" in sql:
            await self.trip()
            return True
        row = await self.fetchrow(sql, *arguments)
        return next(iter(row.values())) if row else None


_NAMES: dict[str, str] = {}


def _name(sql: str) -> str | None:
    if not _NAMES:
        _NAMES.update({text: name for name, text in statements(LIVE).items()})
    return _NAMES.get(sql)
