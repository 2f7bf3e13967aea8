"""Replays events at their original pace, by the times at which the broker stored them."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from infra.inspect.entries import Entry
from shared.domain.events import GenerationEnded
from shared.domain.subjects import TOKENS, AnswerId


class Pace:
    """Delays the events of one replay: `speed` times as fast while answers were in generation, without other gaps."""

    def __init__(
        self,
        speed: float,
        *,
        now: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._speed = speed
        self._now = now or asyncio.get_running_loop().time
        self._sleep = sleep
        self._begun: tuple[datetime, float] | None = None
        self._running: set[AnswerId] = set()

    async def wait_for_turn(self, entry: Entry) -> None:
        """Returns when this event is due. Expects the events in order."""
        if self._begun is not None:
            then, began = self._begun
            due = began + (entry.stored.time - then).total_seconds() / self._speed
            await self._sleep(max(0.0, due - self._now()))
        if entry.stream == TOKENS and entry.answer is not None:
            if isinstance(entry.event, GenerationEnded):
                self._running.discard(entry.answer)
            else:
                self._running.add(entry.answer)
        if not self._running:
            self._begun = None
        elif self._begun is None:
            self._begun = (entry.stored.time, self._now())
