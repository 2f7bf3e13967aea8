"""What a person types, or a program sends: message by message, until there is no more."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from infra.terminal.screen import PROMPT

CONTINUATION = "  "
READ_BYTES = 65_536


class Input(Protocol):
    def messages(self) -> AsyncIterator[str]: ...

    def remember(self, message: str) -> None:
        """So that it can be had again with the arrow keys."""


class Typed:
    """A line editor: Enter sends, Esc and Enter begin a new line, Ctrl-C drops what was typed, Ctrl-D ends."""

    def __init__(self) -> None:
        self._session: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=_keys(),
            history=InMemoryHistory(),
            prompt_continuation=CONTINUATION,
            enable_open_in_editor=True,
        )

    def remember(self, message: str) -> None:
        self._session.history.append_string(message)

    async def messages(self) -> AsyncIterator[str]:
        while True:
            try:
                # Ctrl-C comes as a key here; a signal from elsewhere is the session's own affair.
                typed = await self._session.prompt_async(PROMPT, handle_sigint=False)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if typed.strip():
                yield typed.strip()


class Piped:
    """Each line is a message."""

    def remember(self, message: str) -> None:
        pass

    async def messages(self) -> AsyncIterator[str]:
        if sys.stdin is None:
            return
        rest = b""
        async for data in _chunks(sys.stdin.fileno()):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                if message := line.decode("utf-8", "replace").strip():
                    yield message
        if message := rest.decode("utf-8", "replace").strip():
            yield message


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Not in a thread: one that waits for a pipe that nobody writes to would keep the process from ending."""
    while True:
        await _readable(descriptor)
        data = os.read(descriptor, READ_BYTES)
        if not data:
            return
        yield data


async def _readable(descriptor: int) -> None:
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        loop.add_reader(descriptor, ready.set)
    except PermissionError:  # a file: it always is, and the system does not watch it
        return
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys


@contextlib.contextmanager
def unseen_typing() -> Iterator[None]:
    """What is typed while an answer streams in does not show in the middle of it: the next prompt has it."""
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
