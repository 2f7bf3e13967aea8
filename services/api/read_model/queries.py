"""Reads from Postgres. Rows may lag behind the log; use `after` to wait for a sequence."""

import asyncio
import contextlib
import time
from typing import Any

import asyncpg

from services.api.read_model import stored_json
from services.api.read_model.checkpoint import Checkpoint, read_checkpoint
from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE
from services.api.read_model.projector import Projector
from services.api.read_model.statements import LIVE, statements
from shared.domain.chat import AnswerNode, ChatState, MessageNode
from shared.domain.errors import UnspoolError
from shared.domain.subjects import AnswerId, ChatId, MessageId, Sequence
from shared.settings import Settings

_POLL_SECONDS = 0.02


class ReadModelUnavailable(UnspoolError):
    """Postgres is unavailable. Commands and answers continue; the history cannot be read."""


class ReadModelBehind(UnspoolError):
    """The read model did not reach the requested sequence in time."""


class Reads:
    """Reads rows of the read model. The app owns it and the pool. Every method raises `ReadModelUnavailable`."""

    def __init__(self, pool: asyncpg.Pool, settings: Settings, projector: Projector | None) -> None:
        self._pool = pool
        self._settings = settings
        self._projector = projector

    async def chat_state(self, chat: ChatId) -> tuple[ChatState, Checkpoint | None]:
        """Returns a chat's state from its rows, and the checkpoint of the same snapshot."""
        named = statements()
        try:
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                checkpoint = await read_checkpoint(connection, LIVE)
                row = await connection.fetchrow(named["chat"], chat)
                nodes = await connection.fetch(named["nodes"], chat) if row else []
        except (*POSTGRES_UNAVAILABLE, asyncpg.PostgresError) as error:
            raise ReadModelUnavailable(repr(error)) from error
        return (_state(row, nodes) if row else ChatState(chat)), checkpoint

    async def chat(self, chat: ChatId) -> tuple[asyncpg.Record, list[asyncpg.Record]] | None:
        """Returns the chat's row and the rows of its messages from one snapshot, or None."""
        named = statements()
        try:
            async with (
                self._pool.acquire() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                row = await connection.fetchrow(named["chat"], chat)
                return (row, await connection.fetch(named["messages"], chat)) if row else None
        except (*POSTGRES_UNAVAILABLE, asyncpg.PostgresError) as error:
            raise ReadModelUnavailable(repr(error)) from error

    async def rows(self, name: str, *arguments: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - Postgres' values
        """Returns the rows of a named statement."""
        try:
            async with self._pool.acquire() as connection:
                return list(await connection.fetch(statements()[name], *arguments))
        except (*POSTGRES_UNAVAILABLE, asyncpg.PostgresError) as error:
            raise ReadModelUnavailable(repr(error)) from error

    async def position(self) -> Sequence:
        """Returns the sequence up to which the rows are folded."""
        rows = await self.rows("checkpoint")
        return Sequence(rows[0]["position"]) if rows else Sequence(0)

    async def wait_for(self, sequence: Sequence) -> None:
        """Returns when the rows are folded up to a sequence. Raises `ReadModelBehind` after `read_after_seconds`."""
        deadline = time.monotonic() + self._settings.read_after_seconds
        while True:
            own = self._projector if self._projector and self._projector.state == "active" else None
            move = own.next_move() if own else None
            if (own.position if own else await self.position()) >= sequence:
                return
            left = deadline - time.monotonic()
            if left <= 0:
                raise ReadModelBehind(f"the read model has not reached sequence {sequence} yet")
            if move is None:  # The projector of another process gives no signal: poll.
                await asyncio.sleep(min(_POLL_SECONDS, left))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await move.wait()


def _state(row: asyncpg.Record, nodes: list[asyncpg.Record]) -> ChatState:
    state = ChatState(
        id=ChatId(row["id"]),
        sequence=Sequence(row["sequence"]),
        created=Sequence(row["created"]),
        owner=row["owner"],
        title=row["title"],
        titled=row["titled"],
        model=row["model"],
        system=row["system"],
        metadata=stored_json.decode(row["metadata"]),
        archived=row["archived"],
        request_hash=row["hash"],
    )
    for node in nodes:
        if node["role"] == "user":
            _add_message(state, node)
        else:
            _add_answer(state, node)
    return state


def _add_message(state: ChatState, node: asyncpg.Record) -> None:
    id_ = MessageId(node["id"])
    parent = AnswerId(node["parent"]) if node["parent"] else None
    state.messages[id_] = MessageNode(id_, parent, Sequence(node["sequence"]), node["hash"])


def _add_answer(state: ChatState, node: asyncpg.Record) -> None:
    id_ = AnswerId(node["id"])
    running = node["status"] == "running"
    state.answers[id_] = AnswerNode(
        id=id_,
        message=MessageId(node["parent"]),
        sequence=Sequence(node["sequence"]),
        request_hash=node["hash"],
        model=node["model"],
        ended=None if running else Sequence(node["ended"]),
        outcome=None if running else node["status"],
        cancel_requested=node["cancelling"],
    )
    state.newest = id_
