"""Limits and timing of retries."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from unspool_client.backoff import backoff_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """The time limits of a client."""

    first_wait_seconds: float = 0.5
    """Wait before the first retry, or the stream's `retry:`. It doubles with each retry."""
    longest_wait_seconds: float = 15.0
    retry_after_max_seconds: float = 60.0
    """Limit of a server's `Retry-After`."""
    connect_seconds: float = 5.0
    idle_seconds: float = 45.0
    """Time without bytes after which a connection counts as dead. A server sends a keep-alive every 15 s."""
    call_seconds: float = 30.0
    """Time limit of a call with all its retries. Streams have their own limit."""
    breaches_max: int = 10
    """Limit of consecutive contract violations of a stream."""


class Backoff:
    """Exponential backoff with jitter and a limit, so that many clients do not reconnect at the same time."""

    def __init__(self, patience: Patience, jitter: Callable[[], float] = random.random) -> None:
        self._patience = patience
        self._jitter = jitter
        self._first_seconds = patience.first_wait_seconds
        self._failures = 0

    def asked_for(self, retry_milliseconds: int) -> None:
        """Sets the first wait to the stream's `retry:`."""
        self._first_seconds = min(retry_milliseconds / 1000, self._patience.longest_wait_seconds)

    def succeeded(self) -> None:
        """Resets the failures."""
        self._failures = 0

    def next_wait_seconds(self, retry_after_seconds: float | None = None) -> float:
        """Counts a failure and returns the wait: at least `Retry-After`, within its limit."""
        self._failures += 1
        longest = backoff_seconds(
            self._failures,
            first_seconds=self._first_seconds,
            longest_seconds=self._patience.longest_wait_seconds,
        )
        wait = longest * (1 + self._jitter()) / 2
        asked = min(retry_after_seconds or 0.0, self._patience.retry_after_max_seconds)
        return max(wait, asked)
