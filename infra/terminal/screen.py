"""Output of `unspool chat`: streamed text, and a status that appears behind it and disappears.

Invariants: text of models and users never contains control sequences for the terminal. A status is written after
the text and erased before the next character.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

from infra.terminal.printable import printable

PROMPT = "› "  # noqa: RUF001 - it is meant to be one
SLOW_SECONDS = 0.7
"""Delay before a status about waiting appears."""


class Screen:
    """Writes one session to a terminal or a file, and tracks the cursor's column. The session owns it."""

    def __init__(self, console: Console, errors: Console) -> None:
        """Takes a console for text and one for errors, which may be the same terminal."""
        self._console = console
        self._errors = errors
        self._column = 0
        self._status = ""
        self._later: asyncio.TimerHandle | None = None
        self._below: int | None = None
        """The column to return to, if the status was written on the line below the text."""

    @property
    def is_terminal(self) -> bool:
        """True if written text can be erased."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def append(self, text: str, style: str = "") -> None:
        """Appends text at the place where the last text ended."""
        self.set_status("")
        safe = printable(text)
        self._console.out(safe, end="", style=style or None, highlight=False)
        self._advance(safe)

    def print_line(self, what: RenderableType = "", style: str = "") -> None:
        """Prints text or a table on a new line."""
        self.start_line()
        content = Text(printable(what), style=style) if isinstance(what, str) else what
        self._console.print(content, soft_wrap=isinstance(content, Text), highlight=False)

    def print_problem(self, text: str) -> None:
        """Prints an error as one line to the error stream."""
        self.start_line()
        self._errors.print(Text(printable(" ".join(text.split())), style="red"), soft_wrap=True)

    def print_question(self, text: str) -> None:
        """Prints a message of the user as it looked at the prompt."""
        self.print_line(f"{PROMPT}{text}", "bold")

    def start_line(self) -> None:
        """Ends the current line, if it is not empty."""
        self.set_status("")
        if self._column:
            self._console.out()
            self._column = 0

    def set_status(self, text: str) -> None:
        """Replaces the status; an empty text removes it. A status that was announced does not come any more."""
        if self._later:
            self._later.cancel()
            self._later = None
        if text == self._status or not self.is_terminal:
            return
        self._erase_status()
        if text:
            self._show_status(text)
        self._status = text

    @contextmanager
    def show_waiting(self, text: str) -> Iterator[None]:
        """Shows the status if the context takes longer than `SLOW_SECONDS`, and removes it at the end."""
        self.announce_status(text)
        try:
            yield
        finally:
            self.set_status("")

    def announce_status(self, text: str) -> None:
        """Shows the status after `SLOW_SECONDS`, unless something else is shown before."""
        if self._later:
            self._later.cancel()
        self._later = asyncio.get_running_loop().call_later(SLOW_SECONDS, self.set_status, text)

    def _show_status(self, text: str) -> None:
        width = self._console.width
        shown = Text(printable(text))
        shown.truncate(width - 2)
        if self._column + 1 + shown.cell_len < width:
            self._console.out("" if not self._column else " ", shown.plain, sep="", end="", style="dim")
            self._below = None
        else:
            # After a full row the terminal wraps by itself, which is not a line end.
            line_end = "\n" if self._column < width else ""
            self._console.out(line_end, shown.plain, sep="", end="", style="dim")
            self._below = self._column

    def _erase_status(self) -> None:
        if not self._status:
            return
        if self._below is None:
            self._control((ControlType.CARRIAGE_RETURN,), *self._forward(self._column))
            self._control((ControlType.ERASE_IN_LINE, 0))
            return
        self._control((ControlType.CARRIAGE_RETURN,), (ControlType.ERASE_IN_LINE, 2))
        if self._below >= self._console.width:
            self._column = 0  # The text continues on this line anyway.
        else:
            self._control((ControlType.CURSOR_UP, 1), *self._forward(self._below))

    def _forward(self, columns: int) -> list[tuple[ControlType, int]]:
        return [(ControlType.CURSOR_FORWARD, columns)] if columns else []  # a terminal treats 0 as 1

    def _control(self, *codes: tuple[ControlType] | tuple[ControlType, int]) -> None:
        self._console.control(Control(*codes))

    def _advance(self, text: str) -> None:
        """Tracks the cursor like a terminal: after a full line it wraps only before the next character."""
        _, line_end, last = text.rpartition("\n")
        if line_end:
            self._column = 0
        width = self._console.width
        for character in last:
            cells = cell_len(character)
            self._column = cells if self._column + cells > width else self._column + cells
