"""Output of `unspool up`: a line per step, the welcome, and later events."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.text import Text

from infra.terminal.printable import printable

NAME_WIDTH = 12


class Step:
    """The text that a step prints at its end."""

    done = ""


class Progress:
    """Prints to the terminal of `unspool up`."""

    def __init__(self) -> None:
        # Do not wrap lines: a long command must stay one line for pasting.
        self._console = Console(highlight=False, soft_wrap=True)

    def print_line(self, text: str = "", style: str = "") -> None:
        """Prints one line."""
        self._console.print(Text(printable(text), style=style))

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[Step]:
        """Shows a spinner during a step and prints a line at its end. A file gets only the line."""
        step = Step()
        with self._console.status(f"{name}: {doing}"):
            yield step
        self._console.print(
            Text.assemble("  ", ("✓ ", "green"), (f"{name:<{NAME_WIDTH}}", "bold"), printable(step.done))
        )

    def print_event(self, what: str) -> None:
        """Prints an unexpected event with its time, such as a restart."""
        now = datetime.now().astimezone()
        self._console.print(Text.assemble((f"{now:%H:%M:%S} ", "dim"), (printable(what), "yellow")))
