"""Ctrl-C, which means another thing at each moment of a conversation; and signals that mean the end of it."""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

ENDS = (signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """`end` is called for Ctrl-C too where nothing else was said."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end
        self._now = end

    @contextmanager
    def caught(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted)
        for number in ENDS:  # in good order: the terminal has to be left as it was found
            loop.add_signal_handler(number, self._end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, *ENDS):
                loop.remove_signal_handler(number)

    def _interrupted(self) -> None:
        self._now()

    @contextmanager
    def mean(self, what: Callable[[], object]) -> Iterator[None]:
        before, self._now = self._now, what
        try:
            yield
        finally:
            self._now = before
