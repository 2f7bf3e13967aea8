"""The checkpoint of the rows: how far the log is folded into them, and whether the log still holds that fact.

A log that was restored from a copy, or lost its disk, may have lost its tail and have grown since. Then sequences
alone prove nothing: the checkpoint carries a mark of the last fact that was folded, and the log is compared with it.
"""

import asyncpg
from msgspec import Struct

from services.api.read_model.statements import statements
from shared.domain import subjects
from shared.domain.errors import UnspoolError
from shared.domain.subjects import Sequence
from shared.log.protocol import Log
from shared.log.recorded import Recorded

LOST = "lost"
"""The mark of rows that hold what the log has lost. It stays until the rows are rebuilt."""


class CheckpointMoved(UnspoolError):
    """Another projector moved the checkpoint, or a rebuild swapped the schema: read the checkpoint again."""


class ProjectorStopped(UnspoolError):
    """The projector cannot go on without an operator: the message says what to do."""


class Checkpoint(Struct, frozen=True):
    """How far the log is folded into the rows of a schema, by which version, and from which incarnation of the log."""

    position: Sequence
    created: str
    version: int
    mark: str = ""
    """`mark_of` the fact at `position`; empty at the beginning."""


async def read_checkpoint(connection: asyncpg.Connection, schema: str) -> Checkpoint | None:
    row = await connection.fetchrow(statements(schema)["checkpoint"])
    if row is None:
        return None
    return Checkpoint(Sequence(row["position"]), row["created"], row["version"], row["mark"])


async def is_lost(event_log: Log, checkpoint: Checkpoint) -> bool:
    """Returns whether the log lost the fact that was folded last; it may have grown since. Raises `LogUnavailable`."""
    if checkpoint.mark in {"", LOST}:
        return checkpoint.mark == LOST
    found = await event_log.at(subjects.CHATS, checkpoint.position)
    if found is not None:
        return mark_of(found) != checkpoint.mark
    # Purged with its chat, if that has its tombstone; else it was lost, and another one at its place was purged.
    _, chat, _ = subjects.parse(checkpoint.mark.rpartition(" ")[2])
    return await event_log.last(subjects.fact(chat, "chat-deleted")) is None


def mark_of(stored: Recorded) -> str:
    """Returns the mark of a fact. The broker's time tells it from any other fact that may get its sequence later."""
    return f"{stored.sequence}@{stored.time.isoformat()} {stored.subject}"


def check_incarnation(checkpoint: Checkpoint, created: str, last: Sequence) -> None:
    """Raises `ProjectorStopped` when the rows were made from another log, or from one that held more than this one."""
    if checkpoint.created != created:
        raise ProjectorStopped(
            f"the read model was made from another log (created {checkpoint.created}, this one {created}); "
            "if this log is the right one, run `unspool rebuild`"
        )
    if checkpoint.position > last:
        raise ProjectorStopped(
            f"the read model is at sequence {checkpoint.position}, the log ends at {last}: the log lost its tail; "
            "run `unspool rebuild` to go on from what the log has"
        )
