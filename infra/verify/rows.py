"""Compares the read model with the log: folds the facts again into a second schema and compares all rows.

The live rows are read in one repeatable-read transaction, and the facts are folded up to the checkpoint of that
transaction, so the projector may continue meanwhile. Memory holds one batch of facts and of row hashes; Postgres
holds the second schema until the comparison ends.
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

REFOLDED = "unspool_verifying"
"""The schema into which the facts are folded again."""
_PREFETCHED = 500
_OF = {"chats": "id", "messages": "chat"}
"""Each table and its column with the chat's id."""


class VerifyRefused(UnspoolError):
    """A rebuild or another verification is running, or the read model was rebuilt during this one."""


class Rows:
    """Compares all rows of the read model. Call `compare` once; afterwards `compared_to` is the sequence up to which
    the rows were compared. The caller owns both connections.
    """

    def __init__(
        self, facts: Facts, position: Position, live: asyncpg.Connection, refolded: asyncpg.Connection
    ) -> None:
        """Takes two connections: `live` keeps a snapshot open while `refolded` writes."""
        self._facts = facts
        self._position = position
        self._live = live
        self._refolded = refolded
        self.compared_to = Sequence(0)
        self.counts = dict.fromkeys(_OF, 0)

    async def compare(self, chat: ChatId | None) -> AsyncIterator[str]:
        """Yields a line per difference. Raises `VerifyRefused` if a rebuild or another verification is running."""
        if not await self._live.fetchval("SELECT pg_try_advisory_lock($1)", REBUILD_LOCK):
            raise VerifyRefused("a rebuild or another verification is running: try again when it has ended")
        try:
            checkpoint = await self._read_live_checkpoint()
            async with self._open_schema():
                async for line in self._compare(checkpoint, chat):
                    yield line
        except ProjectorStopped as error:
            yield f"read model: {error}"
        finally:
            await self._live.execute("SELECT pg_advisory_unlock($1)", REBUILD_LOCK)

    async def _read_live_checkpoint(self) -> Checkpoint:
        """Returns the live checkpoint. Raises `ProjectorStopped` if the rows were not made from this log."""
        exists = await schema_exists(self._live, LIVE)
        checkpoint = await read_checkpoint(self._live, LIVE) if exists else None
        if checkpoint is None:
            raise ProjectorStopped(
                "it does not exist yet; start an API process or `unspool projector` to create it"
            )
        if checkpoint.version != SCHEMA_VERSION:
            raise ProjectorStopped(
                f"its version is {checkpoint.version}, this program needs {SCHEMA_VERSION}"
            )
        check_incarnation(checkpoint, self._position.created, max(self._position.last, Sequence(0)))
        return checkpoint

    @contextlib.asynccontextmanager
    async def _open_schema(self) -> AsyncIterator[None]:
        drop = f"DROP SCHEMA IF EXISTS {REFOLDED} CASCADE"
        await self._refolded.execute(drop)  # left by an interrupted verification
        await make_schema(self._refolded, REFOLDED)
        try:
            yield
        finally:
            await self._refolded.execute(drop)

    async def _compare(self, checkpoint: Checkpoint, chat: ChatId | None) -> AsyncIterator[str]:
        begun = statements(REFOLDED)["begin"]
        await self._refolded.execute(begun, checkpoint.created, SCHEMA_VERSION)
        # Fold most facts before the snapshot, to keep its transaction short.
        folded = structs.replace(checkpoint, position=Sequence(0))
        folded = await self._fold_facts(folded, checkpoint.position)
        async with self._live.transaction(isolation="repeatable_read", readonly=True):
            now = await read_checkpoint(self._live, LIVE)
            if now is None or now.created != checkpoint.created:
                raise VerifyRefused("the read model was rebuilt during the verification: try again")
            self.compared_to = now.position
            await self._fold_facts(folded, now.position)
            for table in _OF:
                async for line in self._compare_table(table, chat):
                    yield line

    async def _fold_facts(self, checkpoint: Checkpoint, up_to: Sequence) -> Checkpoint:
        async for batch in self._facts.read_batches(checkpoint.position, up_to):
            checkpoint = await fold_batch(self._refolded, REFOLDED, checkpoint, batch)
        return checkpoint

    async def _compare_table(self, table: str, chat: ChatId | None) -> AsyncIterator[str]:
        async with self._refolded.transaction(readonly=True):
            async for id_, of, in_live, in_log in self._pair_rows(table, chat):
                self.counts[table] += 1
                if in_live == in_log or await self._facts.was_deleted_after(of, self.compared_to):
                    continue
                if in_log is None:
                    yield f"{table} {id_}: is in the read model, but not in the log"
                elif in_live is None:
                    yield f"{table} {id_}: is in the log, but not in the read model"
                else:
                    columns = ", ".join(await self._find_differing_columns(table, id_))
                    yield f"{table} {id_}: differs from the log in {columns}"

    async def _pair_rows(
        self, table: str, chat: ChatId | None
    ) -> AsyncIterator[tuple[str, str, str | None, str | None]]:
        """Yields each id of either schema in order, with its chat and the hashes of the live and the refolded row."""
        ours, theirs = (
            self._read_hashes(self._live, LIVE, table, chat),
            self._read_hashes(self._refolded, REFOLDED, table, chat),
        )
        async with contextlib.aclosing(ours), contextlib.aclosing(theirs):
            live, refolded = await anext(ours, None), await anext(theirs, None)
            while live or refolded:
                if refolded is None or (live is not None and live["id"] < refolded["id"]):
                    assert live is not None  # noqa: S101 - one of both is not None
                    yield live["id"], live["chat"], live["hash"], None
                    live = await anext(ours, None)
                elif live is None or refolded["id"] < live["id"]:
                    yield refolded["id"], refolded["chat"], None, refolded["hash"]
                    refolded = await anext(theirs, None)
                else:
                    yield live["id"], live["chat"], live["hash"], refolded["hash"]
                    live, refolded = await anext(ours, None), await anext(theirs, None)

    async def _read_hashes(
        self, connection: asyncpg.Connection, schema: str, table: str, chat: ChatId | None
    ) -> AsyncGenerator[asyncpg.Record, None]:
        query = (
            f"SELECT id, {_OF[table]} AS chat, md5(row::text) AS hash FROM {schema}.{table} AS row "  # noqa: S608 - our own names
            f"WHERE $1::text IS NULL OR {_OF[table]} = $1 ORDER BY id"
        )
        async for row in connection.cursor(query, chat, prefetch=_PREFETCHED):
            yield row

    async def _find_differing_columns(self, table: str, id_: str) -> list[str]:
        query = "SELECT * FROM {}.{} WHERE id = $1"
        live = await self._live.fetchrow(query.format(LIVE, table), id_)
        refolded = await self._refolded.fetchrow(query.format(REFOLDED, table), id_)
        return [name for name in live.keys() if live[name] != refolded[name]]  # noqa: SIM118 - a record iterates over its values
