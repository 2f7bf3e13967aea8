"""What happened in a run, step by step, and what must never happen."""

from collections.abc import Callable


class Violation(AssertionError):
    """A promise was broken: the run ends here."""


class Trace:
    """Lines with their virtual time. The same seed gives the same lines."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.lines: list[str] = []
        self._now = now

    def add(self, who: object, what: str) -> None:
        self.lines.append(f"{self._now():9.4f} {who!s:12} {what}")
