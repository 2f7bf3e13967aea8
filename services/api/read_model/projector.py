"""The projector: folds CHATS into Postgres in batches, each with its checkpoint in one transaction.

Invariant: the checkpoint advances by compare-and-set in the transaction of the rows. Two concurrent projectors are
safe, because one of them fails there; the advisory lock only prevents useless work. The projector never skips an event
that it cannot process: it stops, and `reason` says why.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import asyncpg
import msgspec

from services.api.metrics import ProjectorState
from services.api.read_model.checkpoint import (
    LOST,
    Checkpoint,
    CheckpointMoved,
    ProjectorStopped,
    check_incarnation,
    is_lost,
    mark_of,
    read_checkpoint,
)
from services.api.read_model.migrations import SCHEMA_VERSION, Renew, migrate
from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE
from services.api.read_model.projections import Arguments, project
from services.api.read_model.statements import LIVE, statements
from shared.domain import subjects
from shared.domain.errors import LogUnavailable, UndecodableEvent
from shared.domain.events import ChatDeleted, Fact
from shared.domain.subjects import Sequence
from shared.log.protocol import Log
from shared.log.recorded import Recorded, Unknown
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

Followed = Callable[[Sequence, int], list[Recorded] | None]
"""Returns the facts after a sequence that this process has followed: at most so many, None if it does not hold them."""

_TRIES_UNTIL_WELL = 3
_LOCK = 0x756E7370  # "unsp": one projector for this database


class Projector:
    """Folds the log. `state` is `standby`, `active` or `stopped`; `reason` explains it. The app owns and runs it."""

    def __init__(
        self,
        log_: Log,
        pool: asyncpg.Pool,
        settings: Settings,
        renew: Renew | None = None,
        followed: Followed | None = None,
    ) -> None:
        """Takes `renew`, which rebuilds tables of an older version, and `followed`, where this process follows CHATS."""
        self._log = log_
        self._followed = followed
        self._renew = renew
        self._pool = pool
        self._settings = settings
        self.state: ProjectorState = "standby"
        self.reason = ""
        self.position = Sequence(0)
        self._doubtful = False
        """True if the log was unavailable since the checkpoint was verified against it."""
        log_.on_reconnect(self._log_is_back)
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._awaited = asyncio.Event()
        """Set while somebody waits for the rows: the next batch must not wait for more facts."""
        self._idle = False

    async def run(self) -> None:
        """Projects until it is cancelled. Waits and retries while Postgres or the log is unavailable."""
        while True:
            try:
                async with self._only_one() as lock:
                    await self._project(lock)
            except CheckpointMoved:
                self._enter("standby")
                continue
            except ProjectorStopped as error:
                self._enter("stopped", str(error))
                log.error("projector-stopped", reason=self.reason, sequence=self.position)
            except (LogUnavailable, *POSTGRES_UNAVAILABLE) as error:
                self._enter("standby", repr(error))
                log.warning("projector-waits", reason=self.reason)
            await asyncio.sleep(self._settings.projector_retry_seconds)

    @contextlib.asynccontextmanager
    async def _only_one(self) -> AsyncIterator[asyncpg.Connection]:
        """Yields the connection that holds the lock; if the connection breaks, the lock is released."""
        async with self._pool.acquire() as connection:
            await migrate(connection)
            tries = 0
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                tries += 1
                # A projector that stops releases the lock at once; one that holds it for several tries is working.
                if self.state == "stopped" and tries >= _TRIES_UNTIL_WELL:
                    self._enter("standby")
                await asyncio.sleep(self._settings.projector_retry_seconds)
            try:
                yield connection
            finally:
                with contextlib.suppress(*POSTGRES_UNAVAILABLE):
                    await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)

    def _log_is_back(self) -> None:
        self._doubtful = True

    async def _project(self, lock: asyncpg.Connection) -> None:
        self._doubtful = False
        await self._bring_to_this_version()
        checkpoint = await self._checkpoint(LIVE)
        self.position = checkpoint.position
        self._enter("active")
        log.info("projector-active", sequence=checkpoint.position)
        while not lock.is_closed():
            self._news.clear()
            batch = await self._next_batch(checkpoint.position)
            if self._doubtful:  # the log may have lost its tail and have grown since
                self._doubtful = False
                checkpoint = await self._checkpoint(LIVE)
                continue
            if not batch:
                await self._wait_for_news(checkpoint)
                continue
            await self._purge_deleted(batch)
            checkpoint = await fold_batch(lock, LIVE, checkpoint, batch)
            self.position = checkpoint.position
            self._wake()
        raise CheckpointMoved("the lock was lost with its connection: another projector may hold it now")

    def _enter(self, state: ProjectorState, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._wake()  # Waiters must check whether another projector moves now.

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def news(self, _stored: Recorded | None = None) -> None:
        """Wakes the projector, because CHATS has new events. It can be the `handle` of a follower."""
        self._news.set()

    def next_move(self) -> asyncio.Event:
        """Returns an event that is set at the next batch or change of state, and hurries the next batch.

        Get it before reading the rows, so that no move is missed.
        """
        self._awaited.set()
        return self._moved

    async def _purge_deleted(self, batch: list[Recorded]) -> None:
        """Purges deleted chats before the checkpoint moves: the deleting process may have died before its purge."""
        for recorded in batch:
            if isinstance(recorded.event, ChatDeleted):
                await self._log.purge(subjects.facts(recorded.chat), before=recorded.sequence)
                await self._log.purge(subjects.answers(recorded.chat))

    async def _next_batch(self, position: Sequence) -> list[Recorded]:
        """Returns the next facts: those that this process has followed anyway, else a read of the log."""
        most = self._settings.projector_batch_max
        if self._followed is not None and self._log.connected and not self._idle:
            followed = self._followed(position, most)
            if followed is not None:
                return followed
        self._idle = False
        return await self._log.scan(subjects.CHATS, position, most)

    async def _wait_for_news(self, checkpoint: Checkpoint) -> None:
        """Waits for a fact, then a little longer for others, unless somebody waits for the rows."""
        try:
            async with asyncio.timeout(self._settings.projector_idle_seconds):
                await self._news.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.projector_gather_seconds):
                    await self._awaited.wait()
            self._awaited.clear()
        except TimeoutError:
            self._idle = True  # The follower may be broken: read the log itself.
            position = await self._log.position(subjects.CHATS)
            check_incarnation(checkpoint, position.created, position.last)

    async def _bring_to_this_version(self) -> None:
        """Rebuilds tables of an older version from the log, instead of altering them."""
        async with self._pool.acquire() as connection:
            version = await connection.fetchval(statements()["version"]) or SCHEMA_VERSION
            if version > SCHEMA_VERSION:
                raise ProjectorStopped(
                    f"the read model has version {version}, this program {SCHEMA_VERSION}: run the newer program"
                )
            if version < SCHEMA_VERSION and self._renew is not None:
                log.info("projector-renews", version=version, to=SCHEMA_VERSION)
                await self._renew(connection)

    async def _checkpoint(self, schema: str) -> Checkpoint:
        async with self._pool.acquire() as connection:
            checkpoint = await read_checkpoint(connection, schema)
            if checkpoint is None:
                created = (await self._log.position(subjects.CHATS)).created
                await connection.execute(statements(schema)["begin"], created, SCHEMA_VERSION)
                # Another projector may have begun meanwhile: its row stands.
                checkpoint = await read_checkpoint(connection, schema)
            if checkpoint is None:
                raise CheckpointMoved("the checkpoint was removed while it was made")
            # Read the position after the checkpoint: facts that another projector folds meanwhile are no lost tail.
            position = await self._log.position(subjects.CHATS)
        check_incarnation(checkpoint, position.created, position.last)
        if await is_lost(self._log, checkpoint):
            async with (
                self._pool.acquire() as connection
            ):  # Record it: the differing fact may be purged before the rebuild.
                await connection.execute(statements(schema)["mark"], LOST)
            raise ProjectorStopped(
                f"the fact at sequence {checkpoint.position} is not the one that was folded: the log lost its "
                "tail and has grown since; run `unspool rebuild` to continue with the log's facts"
            )
        return checkpoint


async def fold_batch(
    connection: asyncpg.Connection, schema: str, checkpoint: Checkpoint, batch: list[Recorded]
) -> Checkpoint:
    """Writes rows and checkpoint in one transaction. Raises `CheckpointMoved` if another process moved the checkpoint.

    Raises `ProjectorStopped` at an unknown event, after it has folded the facts before it.
    """
    known, poison = _known(batch)
    named = statements(schema)
    reached = checkpoint
    if known:
        last = known[-1][0]
        reached = msgspec.structs.replace(checkpoint, position=last.sequence, mark=mark_of(last))
        async with connection.transaction():
            # Advance first: a zombie then fails before it writes a row, and a rebuild's swap waits for us.
            moved = await connection.execute(
                named["advance"], checkpoint.position, reached.position, checkpoint.created, reached.mark
            )
            if moved != "UPDATE 1":
                raise CheckpointMoved(f"{schema} is no longer at {checkpoint.position}")
            for name, rows in project((fact, stored.sequence, stored.time) for stored, fact in known):
                await _execute(connection, named[name], rows)
    if poison is not None:
        raise ProjectorStopped(f"{poison}; run `unspool inspect {poison.sequence}` to see it")
    return reached


async def _execute(connection: asyncpg.Connection, statement: str, rows: list[Arguments]) -> None:
    if len(rows) == 1:
        await connection.execute(statement, *rows[0])
    else:
        await connection.executemany(statement, rows)


def _known(batch: list[Recorded]) -> tuple[list[tuple[Recorded, Fact]], UndecodableEvent | None]:
    """Returns the facts up to the first event that this version does not know, and that event as an error."""
    known: list[tuple[Recorded, Fact]] = []
    for recorded in batch:
        if not isinstance(recorded.event, Fact):
            reason = recorded.event.reason if isinstance(recorded.event, Unknown) else "it is no fact"
            return known, UndecodableEvent(recorded.subject, recorded.sequence, reason)
        known.append((recorded, recorded.event))
    return known, None
