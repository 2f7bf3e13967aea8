"""Limits and keeps alive the deliveries that a process has in work."""

import asyncio
from collections.abc import Callable, Iterable

from shared.log.protocol import Delivery


class Slots:
    """A limited number of deliveries in work. The reader of the queue owns it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._semaphore = asyncio.Semaphore(limit)

    async def wait_for_room(self) -> int:
        """Waits until a slot is free and returns how many are: pull no more deliveries than that."""
        async with self._semaphore:
            return self._limit - self._taken

    async def take(self) -> None:
        """Takes a slot, or waits for one."""
        await self._semaphore.acquire()
        self._taken += 1

    def release(self) -> None:
        """Frees a slot."""
        self._taken -= 1
        self._semaphore.release()


async def keep_in_progress(deliveries: Callable[[], Iterable[Delivery]], interval_seconds: float) -> None:
    """Sends a heartbeat for each delivery in work, at intervals, so that the broker does not redeliver it."""
    while True:
        await asyncio.sleep(interval_seconds)
        for delivery in list(deliveries()):
            await delivery.in_progress()
