"""Deliveries in work are limited, and a pull knows how many more there may be."""

import asyncio

from services.generator.slots import Slots


async def test_room_is_what_was_not_taken_and_waits_for_a_release() -> None:
    slots = Slots(2)
    assert await slots.wait_for_room() == 2
    await slots.take()
    assert await slots.wait_for_room() == 1
    await slots.take()
    waiting, taking = asyncio.create_task(slots.wait_for_room()), asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not taking.done()
    slots.release()
    await taking
    assert await waiting == 1
    slots.release()
    assert await slots.wait_for_room() == 1
