"""A deploy: one process after another ends in good order and begins anew, under readers. Pauses are printed, not judged."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.answers import Follower, ask_new_chat, events_of, log_of, text_of
from tests.support.servers import NatsProcess
from tests.support.system import System

MODELS = ("demo/400x20ms", "demo/700x10ms", "demo/250x30ms")
READERS = 2


@pytest.fixture
async def fleet(own_nats: NatsProcess, database: str, data_directory: Path) -> AsyncIterator[System]:
    async with System(own_nats.url, database, data_directory, apis=2, generators=3) as made:
        yield made


async def begun(fleet: System) -> tuple[list[Follower], list[asyncio.Task[Follower]]]:
    """Readers of several answers, on both replicas, all of them under way."""
    answers = [await ask_new_chat(fleet, model) for model in MODELS]
    followers = [Follower(answer) for answer in answers for _ in range(READERS)]
    reading = [asyncio.create_task(one.follow(fleet, number)) for number, one in enumerate(followers)]
    for follower in followers:
        await follower.wait_for_index(10)
    return followers, reading


def check_texts(followers: list[Follower]) -> None:
    for number, follower in enumerate(followers):
        assert follower.text == text_of(MODELS[number // READERS])
        assert not any(event in {"reset", "snapshot"} for event, _ in follower.events)


async def test_a_rolling_restart_of_generators_loses_nothing(fleet: System, own_nats: NatsProcess) -> None:
    followers, reading = await begun(fleet)
    for number, generator in enumerate(fleet.generators):
        assert await generator.terminate() == 0
        await generator.start()
        await fleet.wait_until_generator_ready(number)
    await asyncio.gather(*reading)
    check_texts(followers)
    longest = max(follower.longest_pause_seconds for follower in followers)
    print(f"rolling restart of generators: the longest pause of a reader was {longest * 1000:.0f} ms")
    async with log_of(own_nats.url) as log:
        events = [event for one in followers[::READERS] for event, _ in await events_of(log, one.answer)]
    kinds = [type(event).__name__ for event in events]
    assert kinds.count("GenerationHandedOver") == kinds.count("GenerationStarted") - len(MODELS) > 0


async def test_a_rolling_restart_of_apis_moves_readers_and_loses_nothing(fleet: System) -> None:
    followers, reading = await begun(fleet)
    for number, api in enumerate(fleet.apis):
        await api.terminate()
        await api.start()
        await fleet.wait_until_ready(number)
    await asyncio.gather(*reading)
    check_texts(followers)
    longest = max(follower.longest_pause_seconds for follower in followers)
    print(f"rolling restart of APIs: the longest pause of a reader was {longest * 1000:.0f} ms")
    for follower in followers:
        assert [event for event, _ in follower.events].count("done") == 1
