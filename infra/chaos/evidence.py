"""Reads the streams and tables for the checker: decoded as plain JSON, without the code that wrote them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from shared.domain import subjects
from shared.domain.events import AnswerRequested, MessageRequested
from shared.domain.subjects import Sequence
from shared.log.event_log import EventLog
from shared.log.recorded import Recorded

Event = dict[str, Any]
BATCH = 2000
CAUGHT_UP_SECONDS = 60.0
POLL_SECONDS = 0.1


class Evidence(Struct):
    """The state after a run: `facts` by chat and `tokens` by answer, in order; `chats` and `messages` as rows by id."""

    facts: dict[str, list[Event]]
    tokens: dict[str, list[Event]]
    chats: dict[str, Event]
    messages: dict[str, Event]
    checkpoint: int
    last: int
    unacknowledged: int
    """The sequence of the last request if the queue did not acknowledge all requests, else 0."""


async def gather(log: EventLog, postgres_url: str) -> Evidence:
    """Reads everything, after the projector and the queue reached the end of the log or `CAUGHT_UP_SECONDS` passed."""
    connection = await asyncpg.connect(postgres_url)
    try:
        last = (await log.position(subjects.CHATS)).last
        checkpoint = await _wait_until_caught_up(connection, last)
        facts, tokens = await _read_all(log, subjects.CHATS), await _read_all(log, subjects.TOKENS)
        acknowledged = await _wait_until_acknowledged(log, _last_request(facts))
        return Evidence(
            facts=_group((recorded.chat, event) for recorded, event in facts),
            tokens=_group((recorded.answer or "", event) for recorded, event in tokens),
            chats={row["id"]: dict(row) for row in await connection.fetch("SELECT * FROM unspool.chats")},
            messages={
                row["id"]: dict(row) for row in await connection.fetch("SELECT * FROM unspool.messages")
            },
            checkpoint=checkpoint,
            last=last,
            unacknowledged=0 if acknowledged else _last_request(facts),
        )
    finally:
        await connection.close()


async def _wait_until_caught_up(connection: asyncpg.Connection, last: int) -> int:
    async def read_position() -> int:
        return int(await connection.fetchval("SELECT position FROM unspool.checkpoint") or 0)

    try:
        async with asyncio.timeout(CAUGHT_UP_SECONDS):
            while (reached := await read_position()) < last:  # noqa: ASYNC110 - another process gives no signal
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return await read_position()
    return reached


async def _wait_until_acknowledged(log: EventLog, last_request: int) -> bool:
    try:
        async with asyncio.timeout(CAUGHT_UP_SECONDS):
            while await log.ack_floor(subjects.GENERATORS) < last_request:  # noqa: ASYNC110 - as above
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        return False
    return True


async def _read_all(log: EventLog, stream: str) -> list[tuple[Recorded, Event]]:
    found: list[tuple[Recorded, Event]] = []
    after = Sequence(0)
    while batch := await log.scan(stream, after, BATCH):
        for recorded in batch:
            # From its bytes: the evidence does not stand on the code whose work it judges.
            event = msgspec.json.decode(recorded.data)
            found.append((recorded, event | {"sequence": int(recorded.sequence)}))
        after = batch[-1].sequence
    return found


def _last_request(facts: list[tuple[Recorded, Event]]) -> int:
    requests = (one.sequence for one, _ in facts if isinstance(one.event, MessageRequested | AnswerRequested))
    return max(requests, default=0)


def _group(events: Iterable[tuple[str, Event]]) -> dict[str, list[Event]]:
    found: defaultdict[str, list[Event]] = defaultdict(list)
    for key, event in events:
        found[key].append(event)
    return dict(found)
