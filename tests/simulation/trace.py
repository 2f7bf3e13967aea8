"""The trace of a run, and violations of its invariants."""

from collections.abc import Callable


class Violation(AssertionError):
    """An invariant is violated; the run ends."""


class Trace:
    """Lines with their virtual time. The same seed produces the same lines."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.lines: list[str] = []
        self._now = now

    def add(self, who: object, what: str) -> None:
        self.lines.append(f"{self._now():9.4f} {who!s:12} {what}")
