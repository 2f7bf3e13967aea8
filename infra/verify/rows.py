"""The read model against the log: the facts are folded once more, into a schema of their own, and all rows compared.

The law of this file: the live rows are those of one moment, that of a repeatable-read transaction, and the facts are
folded up to the checkpoint that these rows have. So the projector may go on meanwhile. What is held in memory is a
batch of facts and of rows' hashes; Postgres holds the second rows, beside the first, until they are compared.
"""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import asyncpg
from msgspec import structs

from infra.verify.facts import Facts
from services.api.read_model.checkpoint import (
    Checkpoint,
    ProjectorStopped,
    check_incarnation,
    read_checkpoint,
)
from services.api.read_model.migrations import SCHEMA_VERSION, make_schema, schema_exists
from services.api.read_model.projector import fold_batch
from services.api.read_model.rebuild import REBUILD_LOCK
from services.api.read_model.statements import LIVE, statements
from shared.domain.errors import UnspoolError
from shared.domain.subjects import ChatId, Sequence
from shared.log.protocol import Position

AGAIN = "unspool_verifying"
"""The schema into which the facts are folded once more."""
_PREFETCHED = 500
_OF = {"chats": "id", "messages": "chat"}
"""Tables, and their columns that name a row's chat."""


class VerifyRefused(UnspoolError):
    """A rebuild is under way, or another verification."""


class Rows:
    """`differences` once. `compared_to` is then the sequence up to which rows and log were held against each other."""

    def __init__(
        self, facts: Facts, position: Position, live: asyncpg.Connection, again: asyncpg.Connection
    ) -> None:
        """Two connections, since one is to see a moment, and the other what is made after it."""
        self._facts = facts
        self._position = position
        self._live = live
        self._again = again
        self.compared_to = Sequence(0)
        self.counts = dict.fromkeys(_OF, 0)

    async def differences(self, chat: ChatId | None) -> AsyncIterator[str]:
        if not await self._live.fetchval("SELECT pg_try_advisory_lock($1)", REBUILD_LOCK):
            raise VerifyRefused("a rebuild is under way, or another verification")
        try:
            checkpoint = await self._checkpoint()
            async with self._schema():
                async for line in self._compared(checkpoint, chat):
                    yield line
        except ProjectorStopped as error:
            yield f"read model: {error}"
        finally:
            await self._live.execute("SELECT pg_advisory_unlock($1)", REBUILD_LOCK)

    async def _checkpoint(self) -> Checkpoint:
        """Of the live rows. Raises `ProjectorStopped` where they cannot be compared with this log at all."""
        exists = await schema_exists(self._live, LIVE)
        checkpoint = await read_checkpoint(self._live, LIVE) if exists else None
        if checkpoint is None:
            raise ProjectorStopped("there is none yet; an API process, or `unspool projector`, makes it")
        if checkpoint.version != SCHEMA_VERSION:
            raise ProjectorStopped(f"it is of version {checkpoint.version}, this program of {SCHEMA_VERSION}")
        check_incarnation(checkpoint, self._position.created, max(self._position.last, Sequence(0)))
        return checkpoint

    @contextlib.asynccontextmanager
    async def _schema(self) -> AsyncIterator[None]:
        drop = f"DROP SCHEMA IF EXISTS {AGAIN} CASCADE"
        await self._again.execute(drop)  # of a verification that was broken off
        await make_schema(self._again, AGAIN)
        try:
            yield
        finally:
            await self._again.execute(drop)

    async def _compared(self, checkpoint: Checkpoint, chat: ChatId | None) -> AsyncIterator[str]:
        begun = statements(AGAIN)["begin"]
        await self._again.execute(begun, checkpoint.created, SCHEMA_VERSION)
        # Most of it before the moment that is compared, so that its transaction is short.
        folded = structs.replace(checkpoint, position=Sequence(0))
        folded = await self._fold(folded, checkpoint.position)
        async with self._live.transaction(isolation="repeatable_read", readonly=True):
            now = await read_checkpoint(self._live, LIVE)
            if now is None or now.created != checkpoint.created:
                raise VerifyRefused("the read model was made anew meanwhile: try again")
            self.compared_to = now.position
            await self._fold(folded, now.position)
            for table in _OF:
                async for line in self._table(table, chat):
                    yield line

    async def _fold(self, checkpoint: Checkpoint, up_to: Sequence) -> Checkpoint:
        async for batch in self._facts.between(checkpoint.position, up_to):
            checkpoint = await fold_batch(self._again, AGAIN, checkpoint, batch)
        return checkpoint

    async def _table(self, table: str, chat: ChatId | None) -> AsyncIterator[str]:
        async with self._again.transaction(readonly=True):
            async for id_, of, in_live, in_log in self._pairs(table, chat):
                self.counts[table] += 1
                if in_live == in_log or await self._facts.deleted_after(of, self.compared_to):
                    continue
                if in_log is None:
                    yield f"{table} {id_}: is in the read model, and not in the log"
                elif in_live is None:
                    yield f"{table} {id_}: is in the log, and not in the read model"
                else:
                    columns = ", ".join(await self._columns(table, id_))
                    yield f"{table} {id_}: differs from the log in {columns}"

    async def _pairs(
        self, table: str, chat: ChatId | None
    ) -> AsyncIterator[tuple[str, str, str | None, str | None]]:
        """Each id that one of the two has, its chat, and the hashes of its rows; both come in order of their ids."""
        ours, theirs = (
            self._hashes(self._live, LIVE, table, chat),
            self._hashes(self._again, AGAIN, table, chat),
        )
        async with contextlib.aclosing(ours), contextlib.aclosing(theirs):
            live, again = await anext(ours, None), await anext(theirs, None)
            while live or again:
                if again is None or (live is not None and live["id"] < again["id"]):
                    assert live is not None  # noqa: S101 - one of them is there
                    yield live["id"], live["chat"], live["hash"], None
                    live = await anext(ours, None)
                elif live is None or again["id"] < live["id"]:
                    yield again["id"], again["chat"], None, again["hash"]
                    again = await anext(theirs, None)
                else:
                    yield live["id"], live["chat"], live["hash"], again["hash"]
                    live, again = await anext(ours, None), await anext(theirs, None)

    async def _hashes(
        self, connection: asyncpg.Connection, schema: str, table: str, chat: ChatId | None
    ) -> AsyncGenerator[asyncpg.Record, None]:
        query = (
            f"SELECT id, {_OF[table]} AS chat, md5(row::text) AS hash FROM {schema}.{table} AS row "  # noqa: S608 - our own names
            f"WHERE $1::text IS NULL OR {_OF[table]} = $1 ORDER BY id"
        )
        async for row in connection.cursor(query, chat, prefetch=_PREFETCHED):
            yield row

    async def _columns(self, table: str, id_: str) -> list[str]:
        query = "SELECT * FROM {}.{} WHERE id = $1"
        live = await self._live.fetchrow(query.format(LIVE, table), id_)
        again = await self._again.fetchrow(query.format(AGAIN, table), id_)
        return [name for name in live.keys() if live[name] != again[name]]  # noqa: SIM118 - a record iterates over its values
