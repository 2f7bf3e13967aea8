"""A terminal on which text streams in, and a word about the connection comes and goes beside it.

The law of this file: what a model or a person wrote never reaches the terminal as a command to it. And a
status leaves no trace: it is written after the text, and erased before the next character of it.
"""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.control import Control
from rich.segment import ControlType
from rich.text import Text

PROMPT = "› "  # noqa: RUF001 - it is meant to be one
TAB = "    "
SLOW_SECONDS = 0.7
"""What takes longer is worth a word."""
_COMMANDS_TO_TERMINALS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Without what a terminal would obey: only line ends are left of the control characters. Tabs become spaces."""
    return _COMMANDS_TO_TERMINALS.sub(
        "\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\t", TAB)
    )


class Screen:
    def __init__(self, console: Console, errors: Console) -> None:
        """`errors` may be the same terminal, or lead elsewhere."""
        self._console = console
        self._errors = errors
        self._column = 0
        self._status = ""
        self._below: int | None = None
        """The column to go back to, if the status had to be put below the text."""

    @property
    def is_terminal(self) -> bool:
        """Whether what was written can be erased."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def stream(self, text: str, style: str = "") -> None:
        """More of a text, at the place where it ended."""
        self.status("")
        safe = printable(text)
        self._console.out(safe, end="", style=style or None, highlight=False)
        self._advance(safe)

    def line(self, what: RenderableType = "", style: str = "") -> None:
        """On a line of its own."""
        self.fresh_line()
        content = Text(printable(what), style=style) if isinstance(what, str) else what
        self._console.print(content, soft_wrap=isinstance(content, Text), highlight=False)

    def problem(self, text: str) -> None:
        """One line, where errors go."""
        self.fresh_line()
        self._errors.print(Text(printable(" ".join(text.split())), style="red"), soft_wrap=True)

    def question(self, text: str) -> None:
        """As it stood where it was typed."""
        self.line(f"{PROMPT}{text}", "bold")

    def fresh_line(self) -> None:
        self.status("")
        if self._column:
            self._console.out()
            self._column = 0

    def status(self, text: str) -> None:
        """Instead of the status that there is; empty: none."""
        if text == self._status or not self.is_terminal:
            return
        self._erase_status()
        if text:
            self._show_status(text)
        self._status = text

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Says so if it takes long."""
        later = asyncio.get_running_loop().call_later(SLOW_SECONDS, self.status, text)
        try:
            yield
        finally:
            later.cancel()
            self.status("")

    def _show_status(self, text: str) -> None:
        width = self._console.width
        shown = Text(text)
        shown.truncate(width - 2)
        if self._column + 1 + shown.cell_len < width:
            self._console.out("" if not self._column else " ", shown.plain, sep="", end="", style="dim")
            self._below = None
        else:
            # After a row that is full the terminal begins the next one by itself: for it, that is no line end.
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
            self._column = 0  # the text would have gone on here anyway
        else:
            self._control((ControlType.CURSOR_UP, 1), *self._forward(self._below))

    def _forward(self, columns: int) -> list[tuple[ControlType, int]]:
        return [(ControlType.CURSOR_FORWARD, columns)] if columns else []  # a terminal takes 0 for 1

    def _control(self, *codes: tuple[ControlType] | tuple[ControlType, int]) -> None:
        self._console.control(Control(*codes))

    def _advance(self, text: str) -> None:
        """Follows the cursor as a terminal moves it: a full line is left only for the next character."""
        _, line_end, last = text.rpartition("\n")
        if line_end:
            self._column = 0
        width = self._console.width
        for character in last:
            cells = cell_len(character)
            self._column = cells if self._column + cells > width else self._column + cells
