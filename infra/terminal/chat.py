"""`unspool chat`: a conversation in a terminal, or line by line through a pipe."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from infra.terminal.commands import Commands
from infra.terminal.conversation import WAITING, Abandoned, Conversation
from infra.terminal.interrupts import Interrupts
from infra.terminal.lines import Piped, Typed
from infra.terminal.screen import Screen
from shared.client import Client, ClientError, Patience, Unauthorized, Unreachable

FIRST_CONTACT_SECONDS = 5.0
TYPED_CALL_SECONDS = 300.0
"""A person sees that it is tried, and can end it; a pipe does not."""
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Options:
    urls: Sequence[str]
    api_key: str
    model: str | None = None
    chat: str | None = None


def main(options: Options) -> int:
    """Returns an exit status. Raises `ConfigurationError`, or `ClientError` if the conversation cannot begin."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # a terminal of few letters
    try:
        return asyncio.run(_converse(options))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


async def _converse(options: Options) -> int:
    screen = Screen(Console(highlight=False), Console(stderr=True, highlight=False))
    typed = sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()
    patience = Patience(call_seconds=TYPED_CALL_SECONDS) if typed else Patience()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - this is a coroutine
    interrupts = Interrupts(task.cancel)
    async with Client(options.urls, options.api_key or None, patience=patience) as client:
        with interrupts.caught():
            with screen.waiting(WAITING):
                await _first_contact(client)
            conversation = Conversation(client, screen, interrupts, options.model)
            if typed:
                await _typed(options, client, conversation, screen)
                return 0
            return await _piped(options, conversation, screen)


async def _first_contact(client: Client) -> None:
    """So that a wrong address or key is said at once, and not after the first question."""
    try:
        await client.models(within_seconds=FIRST_CONTACT_SECONDS)
    except Unreachable as error:
        raise Unreachable(f"{error} (is Unspool running there? See unspool up, and --url)") from error
    except Unauthorized as error:
        raise ClientError(f"{error} Set UNSPOOL_API_KEY.") from error


async def _typed(options: Options, client: Client, conversation: Conversation, screen: Screen) -> None:
    typed = Typed()
    commands = Commands(client, conversation, screen, typed)
    if options.chat:
        await commands.open(options.chat)
    else:
        screen.line("/help says what there is besides talking. Ctrl-D leaves.", "dim")
    async for message in typed.messages():
        try:
            if message.startswith("/"):
                await commands.obey(message)
            else:
                await conversation.say(message)
        except ClientError as error:
            screen.problem(str(error))
        except Abandoned:
            screen.problem("Not waited for. Whether the server did it is not known.")
        if commands.quit:
            break
    if conversation.chat:
        screen.line(f"This conversation: unspool chat {conversation.chat}", "dim")


async def _piped(options: Options, conversation: Conversation, screen: Screen) -> int:
    """Status 1 if a message got no whole answer; the others got theirs all the same."""
    if options.chat:
        await conversation.open(options.chat, shown=False)
    async for message in Piped().messages():
        try:
            await conversation.say(message)
        except ClientError as error:
            conversation.failures += 1
            screen.problem(str(error))
        except Abandoned:
            return INTERRUPTED
    return 1 if conversation.failures else 0
