"""What `unspool up` shows: a line for each step, where to go when all runs, and each thing that happens later."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.text import Text

NAME_WIDTH = 12


class Step:
    """What is said of a step when it is done."""

    done = ""


class Progress:
    def __init__(self) -> None:
        # Not wrapped by us: a long line that is to be pasted must stay one.
        self._console = Console(highlight=False, soft_wrap=True)

    def line(self, text: str = "", style: str = "") -> None:
        self._console.print(Text(text, style=style))

    @contextmanager
    def step(self, name: str, doing: str) -> Iterator[Step]:
        """A terminal shows that something moves; a file gets the line at the end only."""
        step = Step()
        with self._console.status(f"{name}: {doing}"):
            yield step
        self._console.print(
            Text.assemble("  ", ("✓ ", "green"), (f"{name:<{NAME_WIDTH}}", "bold"), step.done)
        )

    def happened(self, what: str) -> None:
        """Something that nobody asked for."""
        now = datetime.now().astimezone()
        self._console.print(Text.assemble((f"{now:%H:%M:%S} ", "dim"), (what, "yellow")))
