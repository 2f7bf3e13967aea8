"""How long, how often and when something is tried again."""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The bounds that a client keeps to."""

    first_wait_seconds: float = 0.5
    """Before the second try, until a stream's own `retry:` says otherwise; it doubles with each further one."""
    longest_wait_seconds: float = 15.0
    retry_after_max_seconds: float = 60.0
    """A server that asks for more patience than this is asked again all the same."""
    connect_seconds: float = 5.0
    idle_seconds: float = 45.0
    """Silence, in bytes, after which a connection counts as dead. A server shows a sign of life each 15 s."""
    call_seconds: float = 30.0
    """How long a call is tried, all in all. A stream has a bound of its own."""
    breaches_max: int = 10
    """How often in a row a stream may break its contract before it is given up."""


class Backoff:
    """Bounded, exponential, and with jitter, so that a thousand clients of a lost server do not come back as one."""

    def __init__(self, patience: Patience, jitter: Callable[[], float] = random.random) -> None:
        self._patience = patience
        self._jitter = jitter
        self._first_seconds = patience.first_wait_seconds
        self._failures = 0

    def asked_for(self, retry_milliseconds: int) -> None:
        """The stream's own `retry:`."""
        self._first_seconds = min(retry_milliseconds / 1000, self._patience.longest_wait_seconds)

    def succeeded(self) -> None:
        self._failures = 0

    def next_wait_seconds(self, retry_after_seconds: float | None = None) -> float:
        """Counts a failure. Never less than `Retry-After`, within its bound."""
        doublings = min(self._failures, 30)
        self._failures += 1
        longest = min(self._first_seconds * 2**doublings, self._patience.longest_wait_seconds)
        wait: float = longest * (1 + self._jitter()) / 2
        asked = min(retry_after_seconds or 0.0, self._patience.retry_after_max_seconds)
        return max(wait, asked)
