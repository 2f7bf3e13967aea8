"""Input of `unspool chat`: messages from a terminal or a pipe, until the end of the input."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from infra.terminal.history import ChatHistory
from infra.terminal.screen import PROMPT

CONTINUATION = "  "
READ_BYTES = 65_536


class Input(Protocol):
    """A source of messages."""

    def messages(self) -> AsyncIterator[str]:
        """Yields messages until the input ends."""

    def remember(self, message: str) -> None:
        """Adds a message to the history of the arrow keys."""


class TerminalInput:
    """A line editor: Enter sends, Esc Enter inserts a new line, Ctrl-C discards the text, Ctrl-D ends the input."""

    def __init__(self, history: ChatHistory) -> None:
        self._history = history
        self._session: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=_make_keys(),
            history=history,
            prompt_continuation=CONTINUATION,
            enable_open_in_editor=True,
        )

    def remember(self, message: str) -> None:
        self._history.recall(message)

    async def messages(self) -> AsyncIterator[str]:
        while True:
            try:
                # The prompt reads Ctrl-C as a key; `Interrupts` handles SIGINT from other processes.
                typed = await self._session.prompt_async(PROMPT, handle_sigint=False)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if typed.strip():
                yield typed.strip()


class PipeInput:
    """Standard input as messages, one per line."""

    def remember(self, message: str) -> None:
        pass

    async def messages(self) -> AsyncIterator[str]:
        if sys.stdin is None:
            return
        rest = b""
        async for data in _read_chunks(sys.stdin.fileno()):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                if message := line.decode("utf-8", "replace").strip():
                    yield message
        if message := rest.decode("utf-8", "replace").strip():
            yield message


async def _read_chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Yields bytes without a thread: a thread that waits for an idle pipe would prevent the end of the process."""
    while True:
        await _wait_until_readable(descriptor)
        data = os.read(descriptor, READ_BYTES)
        if not data:
            return
        yield data


async def _wait_until_readable(descriptor: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # A regular file is always readable and cannot be watched.
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _make_keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


@contextlib.contextmanager
def hide_typing() -> Iterator[None]:
    """Turns off the terminal's echo, so that typing does not appear inside an answer. The next prompt shows it."""
    try:
        import termios  # noqa: PLC0415 - not on every platform

        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError, termios.error):
        yield
        return
    silent = termios.tcgetattr(descriptor)
    silent[3] &= ~termios.ECHO
    termios.tcsetattr(descriptor, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
