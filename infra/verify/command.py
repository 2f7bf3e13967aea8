"""`unspool verify`, as a person or a timer runs it."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
from msgspec import structs

from infra.verify.answers import Answers
from infra.verify.facts import Facts
from infra.verify.rows import Rows
from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE
from shared.domain import subjects
from shared.domain.errors import NotFound, UnspoolError
from shared.domain.subjects import CHATS, ChatId
from shared.log.event_log import EventLog
from shared.logging import configure
from shared.settings import Settings


class PostgresAway(UnspoolError):
    pass


def main(settings: Settings, chat: str | None) -> int:
    """1 if there are differences, each of which is a line."""
    settings = structs.replace(settings, log_level="error")
    configure(settings, "verify")
    return asyncio.run(_verify(settings, _chat(chat)))


def _chat(given: str | None) -> ChatId | None:
    if given is None:
        return None
    if chat := subjects.client_id(subjects.chat_of(given)):
        return ChatId(chat)
    raise NotFound("chat", given)


async def _verify(settings: Settings, chat: ChatId | None) -> int:
    log = await EventLog.connect(settings, "unspool-verify")
    live = again = None
    try:
        if chat is not None and await log.last(subjects.facts(chat)) is None:
            raise NotFound("chat", chat)
        live, again = [await _connection(settings) for _ in range(2)]
        return await _compared(log, settings, chat, live, again)
    except POSTGRES_UNAVAILABLE as error:
        raise PostgresAway(f"Postgres does not answer: {error!r}") from error
    finally:
        for connection in (live, again):
            if connection is not None:
                connection.terminate()
        await log.close()


async def _connection(settings: Settings) -> asyncpg.Connection:
    """Without a limit for its queries, which may go through all rows."""
    return await asyncpg.connect(settings.postgres_url, timeout=settings.postgres_timeout_seconds)


async def _compared(
    log: EventLog,
    settings: Settings,
    chat: ChatId | None,
    live: asyncpg.Connection,
    again: asyncpg.Connection,
) -> int:
    facts = Facts(log, settings, chat)
    position = await log.position(CHATS)
    rows, answers = Rows(facts, position, live, again), Answers(log, facts)
    count = await _told(rows.differences(chat)) + await _told(answers.differences(position.last))
    ends = f"the log ended at {position.last} when it began"
    print(f"Rows are compared up to sequence {rows.compared_to} of CHATS; {ends}.")
    print(
        f"{rows.counts['chats']} chats, {rows.counts['messages']} messages and answers; {answers.compared} ends of "
        f"answers, of {answers.expired} of which not all tokens are stored; {answers.unended} answers without an end."
    )
    print(f"{count} differences." if count else "No differences.")
    return 1 if count else 0


async def _told(lines: AsyncIterator[str]) -> int:
    count = 0
    async for line in lines:
        print(line)
        count += 1
    return count
