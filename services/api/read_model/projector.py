"""The projector: folds CHATS into Postgres, batch by batch, each with its checkpoint in one transaction.

The law of this file: the checkpoint moves by compare-and-set in the rows' own transaction. Two projectors
at once do no harm, one of them fails there; an advisory lock only keeps the others from trying. What the
projector cannot go on with, it does not go past: it stops, and `state` says why.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

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
from services.api.read_model.projections import project
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

_TRIES_UNTIL_WELL = 3
_LOCK = 0x756E7370  # "unsp": one projector for this database


class Projector:
    """`state` is `standby`, `active` or `stopped`; `reason` says why it stopped or waits."""

    def __init__(self, log_: Log, pool: asyncpg.Pool, settings: Settings, renew: Renew | None = None) -> None:
        """`renew` makes the tables anew where they are an older version's."""
        self._log = log_
        self._renew = renew
        self._pool = pool
        self._settings = settings
        self.state: ProjectorState = "standby"
        self.reason = ""
        self.position = Sequence(0)
        self._doubtful = False
        """Whether the log was away since the checkpoint was held against it."""
        log_.on_reconnect(self._log_is_back)
        self._news = asyncio.Event()
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """For ever; what Postgres and the log do meanwhile is waited out."""
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
        """The connection that holds the lock: it goes when that does."""
        async with self._pool.acquire() as connection:
            await migrate(connection)
            tries = 0
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                tries += 1
                # Who stops as this one did gives the lock back at once; who keeps it is at work, and all is well.
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
            batch = await self._log.scan(
                subjects.CHATS, checkpoint.position, self._settings.projector_batch_max
            )
            if self._doubtful:  # it may have come back without its tail, and have grown since
                self._doubtful = False
                checkpoint = await self._checkpoint(LIVE)
                continue
            if not batch:
                await self._wait_for_news(checkpoint)
                continue
            await self._purge_deleted(batch)
            async with self._pool.acquire() as connection:
                checkpoint = await fold_batch(connection, LIVE, checkpoint, batch)
            self.position = checkpoint.position
            self._wake()
        raise CheckpointMoved("the lock went with its connection: another projector may have it by now")

    def _enter(self, state: ProjectorState, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._wake()  # whoever waits for the next move may have to look for it elsewhere

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def news(self, _stored: Recorded | None = None) -> None:
        """Called when CHATS has grown: for a follower's `handle`."""
        self._news.set()

    def next_move(self) -> asyncio.Event:
        """Set when this projector has folded its next batch, or is in another state. Taken before a look at the rows,
        no move is missed.
        """
        return self._moved

    async def _purge_deleted(self, batch: list[Recorded]) -> None:
        """Whoever deleted a chat purges it at once, and may die before: here it is done before the checkpoint moves."""
        for recorded in batch:
            if isinstance(recorded.event, ChatDeleted):
                await self._log.purge(subjects.facts(recorded.chat), before=recorded.sequence)
                await self._log.purge(subjects.answers(recorded.chat))

    async def _wait_for_news(self, checkpoint: Checkpoint) -> None:
        try:
            async with asyncio.timeout(self._settings.projector_idle_seconds):
                await self._news.wait()
        except TimeoutError:
            position = await self._log.position(subjects.CHATS)
            check_incarnation(checkpoint, position.created, position.last)

    async def _bring_to_this_version(self) -> None:
        """The rows are a function of the log: other tables are not altered, but filled anew beside the old ones."""
        async with self._pool.acquire() as connection:
            version = await connection.fetchval(statements()["version"]) or SCHEMA_VERSION
            if version > SCHEMA_VERSION:
                raise ProjectorStopped(
                    f"the read model is of version {version}, this program's is {SCHEMA_VERSION}: a newer one is at work"
                )
            if version < SCHEMA_VERSION and self._renew is not None:
                log.info("projector-renews", version=version, to=SCHEMA_VERSION)
                await self._renew(connection)

    async def _checkpoint(self, schema: str) -> Checkpoint:
        async with self._pool.acquire() as connection:
            checkpoint = await read_checkpoint(connection, schema)
            # Asked after the checkpoint was read: what another projector folds meanwhile is no lost tail.
            position = await self._log.position(subjects.CHATS)
            if checkpoint is None:
                checkpoint = Checkpoint(Sequence(0), position.created, SCHEMA_VERSION)
                await connection.execute(statements(schema)["begin"], position.created, SCHEMA_VERSION)
        check_incarnation(checkpoint, position.created, position.last)
        if await is_lost(self._log, checkpoint):
            async with (
                self._pool.acquire() as connection
            ):  # what tells it now may be purged before the rebuild
                await connection.execute(statements(schema)["mark"], LOST)
            raise ProjectorStopped(
                f"the fact at sequence {checkpoint.position} is not the one that was folded: the log lost its "
                "tail, and has grown since; run `unspool rebuild` to go on from what the log has"
            )
        return checkpoint


async def fold_batch(
    connection: asyncpg.Connection, schema: str, checkpoint: Checkpoint, batch: list[Recorded]
) -> Checkpoint:
    """Rows and checkpoint in one transaction. Raises `CheckpointMoved` when the checkpoint is not where it was read.

    Raises `ProjectorStopped` at an event that it does not know; what came before it in the batch is folded.
    """
    known, poison = _known(batch)
    named = statements(schema)
    reached = checkpoint
    if known:
        last = known[-1][0]
        reached = msgspec.structs.replace(checkpoint, position=last.sequence, mark=mark_of(last))
        async with connection.transaction():
            # First, so that a zombie fails before it writes a row, and a rebuild's swap waits for us.
            moved = await connection.execute(
                named["advance"], checkpoint.position, reached.position, checkpoint.created
            )
            if moved != "UPDATE 1":
                raise CheckpointMoved(f"{schema} is no longer at {checkpoint.position}")
            await connection.execute(named["mark"], reached.mark)
            for recorded, fact in known:
                for name, arguments in project(fact, recorded.sequence, recorded.time):
                    await connection.execute(named[name], *arguments)
    if poison is not None:
        raise ProjectorStopped(f"{poison}; `unspool inspect {poison.sequence}` shows it")
    return reached


def _known(batch: list[Recorded]) -> tuple[list[tuple[Recorded, Fact]], UndecodableEvent | None]:
    """Returns the facts up to the first event that this version does not know, and that event as an error."""
    known: list[tuple[Recorded, Fact]] = []
    for recorded in batch:
        if not isinstance(recorded.event, Fact):
            reason = recorded.event.reason if isinstance(recorded.event, Unknown) else "it is no fact"
            return known, UndecodableEvent(recorded.subject, recorded.sequence, reason)
        known.append((recorded, recorded.event))
    return known, None
