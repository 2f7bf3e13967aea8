"""Handles Ctrl-C, whose action depends on the state of the conversation, and signals that end the session."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDS = (signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Calls `end` for SIGTERM and SIGHUP, and for Ctrl-C unless `redirect` is active."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end
        self._now = end

    @contextmanager
    def handle_signals(self) -> Iterator[None]:
        """Installs the signal handlers, and removes them at the end."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        for number in ENDS:  # a clean end: restore the terminal
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, *ENDS):
                loop.remove_signal_handler(number)

    def _interrupt(self) -> None:
        self._now()

    @contextmanager
    def redirect(self, action: Callable[[], object]) -> Iterator[None]:
        """Calls `action` for Ctrl-C inside the context."""
        before, self._now = self._now, action
        try:
            yield
        finally:
            self._now = before
