"""`unspool replay`: prints the events of a chat, read from JetStream."""

import sys
from dataclasses import dataclass

from msgspec import structs
from rich.console import Console

from infra.inspect.chat_log import ChatLog
from infra.inspect.entries import Entry
from infra.inspect.pace import Pace
from infra.inspect.replay_json import JsonLines
from infra.inspect.replay_lines import Lines, Printer
from infra.log_command import parse_chat, run_command
from shared.domain import subjects
from shared.domain.errors import UnspoolError
from shared.domain.subjects import ChatId
from shared.log.event_log import EventLog
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
    settings = structs.replace(settings, log_connect_seconds=connect_seconds)
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # the terminal's encoding may lack characters
    try:
        run_command("replay", settings, lambda settings: _replay(settings, options))
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

    named = None if options.chat is None else parse_chat(options.chat)
    async with EventLog.open(settings, "unspool-replay") as log:
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


async def _last_chat(log: EventLog) -> ChatId:
    """Returns the chat of the newest fact. Raises `NoChats` if the log has no fact."""
    newest = await log.last(subjects.CHATS_SUBJECTS)
    if newest is None:
        raise NoChats("there are no chats yet: ask something first, such as with `unspool chat`")
    return newest.chat


def _lines(options: Options) -> Lines:
    return Lines(Console(highlight=False), each_token=options.each_token)
