"""`unspool chat`: a conversation in a terminal, or one message per line through a pipe."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from unspool_client import Client, ClientError, Patience, Unauthorized, Unreachable

from infra.terminal.client_errors import translate_client_errors
from infra.terminal.commands import Commands
from infra.terminal.conversation import Abandoned, Conversation
from infra.terminal.history import ChatHistory, default_path
from infra.terminal.interrupts import Interrupts
from infra.terminal.lines import PipeInput, TerminalInput
from infra.terminal.program import suggest
from infra.terminal.screen import Screen

FIRST_CONTACT_SECONDS = 5.0
TYPED_CALL_SECONDS = 300.0
"""Retries last longer in a terminal, because a person sees them and can interrupt them."""
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options."""

    urls: Sequence[str]
    api_key: str
    model: str | None = None
    chat: str | None = None
    keep_history: bool = True


def main(options: Options) -> int:
    """Runs the conversation and returns the exit status. Raises `ConfigurationError` or `UnspoolError` at its start."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # the terminal's encoding may lack characters
    try:
        with translate_client_errors():
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
        with interrupts.handle_signals():
            with screen.show_waiting(f"connecting to {options.urls[0]}…"):
                await _check_connection(client)
            conversation = Conversation(client, screen, interrupts, options.model)
            if typed:
                await _run_typed(options, client, conversation, screen)
                return 0
            return await _run_piped(options, conversation, screen)


async def _check_connection(client: Client) -> None:
    """Checks the address and the key before the first message. Raises `ClientError`."""
    try:
        await client.models(within_seconds=FIRST_CONTACT_SECONDS)
    except Unreachable as error:
        raise Unreachable(f"{error} (start Unspool with `unspool up`, or set --url)") from error
    except Unauthorized as error:
        raise ClientError(f"{error} Set UNSPOOL_API_KEY.") from error


async def _run_typed(options: Options, client: Client, conversation: Conversation, screen: Screen) -> None:
    typed = TerminalInput(ChatHistory(default_path() if options.keep_history else None))
    commands = Commands(client, conversation, screen, typed)
    if options.chat:
        await commands.open(options.chat)
    else:
        screen.print_line("/help lists all commands. Ctrl-D quits.", "dim")
    async for message in typed.messages():
        try:
            if message.startswith("/"):
                await commands.execute(message)
            else:
                await conversation.say(message)
        except ClientError as error:
            screen.print_problem(str(error))
        except Abandoned:
            screen.print_problem("Stopped waiting. The server may still have executed it: check with /chats.")
        if commands.quit:
            break
    if conversation.chat:
        screen.print_line(f"This conversation: {suggest(f'chat {conversation.chat}')}", "dim")


async def _run_piped(options: Options, conversation: Conversation, screen: Screen) -> int:
    """Sends each line as a message. Returns 1 if any message got no complete answer; it continues after failures."""
    if options.chat:
        await conversation.open(options.chat, shown=False)
    async for message in PipeInput().messages():
        try:
            await conversation.say(message)
        except ClientError as error:
            conversation.failures += 1
            screen.print_problem(str(error))
        except Abandoned:
            return INTERRUPTED
    return 1 if conversation.failures else 0
