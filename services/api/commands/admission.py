"""Refuses new requests while too many wait for a generator: before anything is appended, so that nothing is lost."""

import asyncio
import contextlib

from shared.domain import subjects
from shared.domain.errors import LogUnavailable, UnspoolError
from shared.log.protocol import Log
from shared.settings import Settings

_FRESH_SECONDS = 0.5
"""Age up to which a depth of the queue counts: requests of that time may come on top of `queue_max`."""


class QueueFull(UnspoolError):
    """The number of requests that wait for a generator has reached `queue_max`."""


class Admission:
    """Knows the depth of the queue, with at most one question to the broker in `_FRESH_SECONDS`. The app owns it."""

    def __init__(self, log_: Log, settings: Settings) -> None:
        self._log = log_
        self._settings = settings
        self._waiting = 0
        self._read_at = float("-inf")

    async def check(self) -> None:
        """Raises `QueueFull` if too many requests wait. An unknown depth admits: the append shows whether the log is there."""
        now = asyncio.get_running_loop().time()
        if now - self._read_at >= _FRESH_SECONDS:
            self._read_at = now  # before the reply: other requests do not wait for it
            with contextlib.suppress(LogUnavailable):
                self._waiting = (await self._log.queue(subjects.GENERATORS)).num_pending
        if self._waiting >= self._settings.queue_max:
            raise QueueFull(f"{self._waiting} requests wait for a generator.")
