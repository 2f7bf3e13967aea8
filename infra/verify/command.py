"""The command `unspool verify`, for people and timers."""

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from infra.log_command import parse_chat, run_command
from infra.terminal.printable import printable
from infra.verify.answers import Answers
from infra.verify.facts import Facts
from infra.verify.rows import Rows
from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE
from shared.domain import subjects
from shared.domain.errors import NotFound, UnspoolError
from shared.domain.subjects import CHATS, ChatId
from shared.log.event_log import EventLog
from shared.log.protocol import Log
from shared.settings import Settings


class PostgresUnavailable(UnspoolError):
    """Postgres cannot be reached, or failed during the comparison."""


def main(settings: Settings, chat: str | None) -> int:
    """Prints a line per difference, then a summary. Returns the exit status: 1 if there are differences."""
    parsed = None if chat is None else parse_chat(chat)
    return run_command("verify", settings, lambda settings: _verify(settings, parsed))


async def _verify(settings: Settings, chat: ChatId | None) -> int:
    async with EventLog.open(settings, "unspool-verify") as log:
        if chat is not None and await log.last(subjects.facts(chat)) is None:
            raise NotFound("chat", chat)
        try:
            async with _connect(settings) as live, _connect(settings) as refolded:
                return await _compare(log, settings, chat, live, refolded)
        except POSTGRES_UNAVAILABLE as error:
            raise PostgresUnavailable(f"Postgres is unavailable: {error!r}") from error


@contextlib.asynccontextmanager
async def _connect(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Yields a connection without a query timeout, because queries may read all rows."""
    connection = await asyncpg.connect(settings.postgres_url, timeout=settings.postgres_timeout_seconds)
    try:
        yield connection
    finally:
        connection.terminate()


async def _compare(
    log: Log,
    settings: Settings,
    chat: ChatId | None,
    live: asyncpg.Connection,
    refolded: asyncpg.Connection,
) -> int:
    facts = Facts(log, settings, chat)
    position = await log.position(CHATS)
    rows, answers = Rows(facts, position, live, refolded), Answers(log, facts)
    count = await _print_lines(rows.compare(chat)) + await _print_lines(answers.compare(position.last))
    print(
        f"Compared rows up to sequence {rows.compared_to} of CHATS. At the start its last was {position.last}."
    )
    print(
        f"{rows.counts['chats']} chats, {rows.counts['messages']} messages and answers. {answers.compared} ended "
        f"answers, {answers.expired} of them with expired tokens. {answers.open_count} answers without an end."
    )
    print(f"{count} differences." if count else "No differences.")
    return 1 if count else 0


async def _print_lines(lines: AsyncIterator[str]) -> int:
    count = 0
    async for line in lines:
        print(printable(line))
        count += 1
    return count
