"""A terminal for a tested command: a pseudo terminal, its output, and keys."""

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from unspool_client import Client, Done, Transcript

from tests.support.emulator import Emulator
from tests.support.system import System

ROOT = Path(__file__).parents[2]
ROWS, COLUMNS = 40, 100
SECONDS = 30.0
PROMPT = "\x1b[?2004h"
"""The output of the line editor when it is ready for input."""
CTRL_C, CTRL_D, ENTER, ESCAPE = "\x03", "\x04", "\r", "\x1b"


def environ(**variables: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")}
    # Nothing here answers when asked where the cursor is.
    terminal = {
        "TERM": "xterm-256color",
        "PROMPT_TOOLKIT_NO_CPR": "1",
        "UNSPOOL_NO_HISTORY": "1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'shared/client'}",
    }
    return inherited | terminal | variables


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "infra.cli", *arguments]


class Terminal:
    """`async with Terminal("chat", ...)` runs a command. It kills the process at the end if it still runs."""

    def __init__(self, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
        self._command = command(*arguments)
        self._environ = environ(**(variables or {}))
        self._master = -1
        self._at = 0
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self.written = ""

    async def __aenter__(self) -> Self:
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self._environ,
            preexec_fn=_own_terminal,
        )
        os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        if kind is not None:
            print(self.written)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65_536)
        except OSError:  # the other side has closed
            asyncio.get_running_loop().remove_reader(self._master)
            return
        self.written += data.decode("utf-8", "replace")
        self._news.set()

    @property
    def seen(self) -> Emulator:
        """Returns the visible text."""
        return Emulator(COLUMNS).write(self.written)

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    async def until(self, *texts: str) -> str:
        """Waits for one of these texts. Returns the output since the last call, up to and including it."""
        async with asyncio.timeout(SECONDS):
            while True:
                ends = [at + len(text) for text in texts if (at := self.written.find(text, self._at)) >= 0]
                if ends:
                    start, self._at = self._at, min(ends)
                    return self.written[start : self._at]
                self._news.clear()
                await self._news.wait()

    async def status(self) -> int:
        """Waits for the end and returns the exit status."""
        assert self._process is not None
        async with asyncio.timeout(SECONDS):
            return await self._process.wait()


def _own_terminal() -> None:
    """Makes the pseudo terminal the child's controlling terminal, so that Ctrl-C reaches the child only."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


async def ask(system: System, content: str, model: str) -> tuple[str, Done, str]:
    """Asks one question in a new chat. Returns the chat's id, the status and the text of the answer."""
    async with Client(system.urls) as client:
        chat = await client.create_chat()
        transcript = Transcript()
        async for event in client.ask(chat.id, content, model=model):
            transcript.apply(event)
        assert transcript.done is not None
        return chat.id, transcript.done, transcript.text


async def run(
    *arguments: str, typed: str = "", variables: Mapping[str, str] | None = None
) -> tuple[int, str, str]:
    """Runs a command with pipes. Returns its exit status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ(**(variables or {})),
    )
    try:
        async with asyncio.timeout(SECONDS * 2):
            out, errors = await process.communicate(typed.encode())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), errors.decode()
