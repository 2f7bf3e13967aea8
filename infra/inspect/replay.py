"""`unspool replay`: prints the events of a chat, read from JetStream."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

from msgspec import structs
from rich.console import Console

from infra.inspect.chat_log import ChatLog
from infra.inspect.entries import Entry
from infra.inspect.pace import Pace
from infra.inspect.replay_json import JsonLines
from infra.inspect.replay_lines import Lines, Printer
from shared.domain import subjects
from shared.domain.errors import NotFound, UnspoolError
from shared.domain.subjects import ChatId
from shared.log.event_log import EventLog
from shared.logging import configure
from shared.settings import Settings

CONNECT_SECONDS = 3.0
"""Limit of the time to connect, because a person waits."""
INTERRUPTED = 130


class NoChats(UnspoolError):
    """The log holds no chat."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options. `chat`: an id of a chat or answer; None for the chat that changed last."""

    chat: str | None
    follow: bool = False
    speed: float | None = None
    as_json: bool = False
    each_token: bool = False


def main(settings: Settings, options: Options) -> int:
    """Prints the events and returns the exit status. Raises `NotFound` for a chat without events."""
    connect_seconds = min(settings.log_connect_seconds, CONNECT_SECONDS)
    settings = structs.replace(settings, log_level="error", log_connect_seconds=connect_seconds)
    configure(settings, "replay")
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # the terminal's encoding may lack characters
    try:
        asyncio.run(_replay(settings, options))
    except KeyboardInterrupt:
        return 0 if options.follow else INTERRUPTED
    return 0


async def _replay(settings: Settings, options: Options) -> None:
    printer: Printer = JsonLines() if options.as_json else _lines(options)
    pace = Pace(options.speed) if options.speed else None

    async def show(entry: Entry) -> None:
        if pace is not None:
            await pace.wait_for_turn(entry)
        printer.show(entry)

    named = None if options.chat is None else _parse_chat(options.chat)
    async with _open_log(settings) as log:
        chat = named or await _last_chat(log)
        chat_log = ChatLog(log, settings, chat)
        try:
            async for entry in chat_log.history():
                await show(entry)
            if options.follow:
                log.on_reconnect(lambda: printer.note("Reconnected to the log."))
                await chat_log.follow(show)
        finally:
            printer.end()


def _parse_chat(given: str) -> ChatId:
    chat = subjects.client_id(subjects.chat_of(given))
    if chat is None:
        raise NotFound("chat", given)
    return ChatId(chat)


async def _last_chat(log: EventLog) -> ChatId:
    """Returns the chat of the newest fact. Raises `NoChats` if the log has no fact."""
    newest = await log.last(subjects.CHATS_SUBJECTS)
    if newest is None:
        raise NoChats("there are no chats yet: ask something first, such as with `unspool chat`")
    return newest.chat


def _lines(options: Options) -> Lines:
    return Lines(Console(highlight=False), each_token=options.each_token)


@contextlib.asynccontextmanager
async def _open_log(settings: Settings) -> AsyncIterator[EventLog]:
    log = await EventLog.connect(settings, "unspool-replay")
    try:
        yield log
    finally:
        await log.close()
