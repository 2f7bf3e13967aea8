"""A cluster of three NATS nodes changes its leaders in the middle of answers: told to, by a death, by a node that hangs."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from shared.domain import subjects
from tests.support.answers import Follower, ask_new_chat, events_of, log_of, text_of
from tests.support.nats_cluster import NatsCluster
from tests.support.system import System

pytestmark = pytest.mark.timeout(240)

MODELS = ("demo/900x10ms", "demo/450x20ms", "demo/300x30ms")


@pytest.fixture
async def cluster(data_directory: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(data_directory) as made:
        yield made


@pytest.fixture
async def fleet(cluster: NatsCluster, database: str, data_directory: Path) -> AsyncIterator[System]:
    async with System(
        cluster.url, database, data_directory, apis=2, generators=2, stream_replicas=len(cluster.processes)
    ) as made:
        yield made


async def told_to(cluster: NatsCluster, stream: str, leader: str) -> None:
    async with log_of(cluster.url) as log:
        reply = await log.ask(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", "", timeout_seconds=10.0)
    assert reply is not None
    assert json.loads(reply)["success"], reply
    await cluster.leader(stream, other_than=leader)


async def by_a_death(cluster: NatsCluster, stream: str, leader: str) -> None:
    await cluster.processes[leader].kill9()
    await cluster.leader(stream, other_than=leader)
    await cluster.processes[leader].start()


async def by_a_node_that_hangs(cluster: NatsCluster, stream: str, leader: str) -> None:
    cluster.processes[leader].pause()
    await cluster.leader(stream, other_than=leader)
    cluster.processes[leader].resume()


async def read_through(
    cluster: NatsCluster,
    fleet: System,
    stream: str,
    change: Callable[[NatsCluster, str, str], Awaitable[None]],
) -> list[Counter[str]]:
    """Answers on both replicas, all read to their ends through the change; their events, counted by name."""
    followers = [Follower(await ask_new_chat(fleet, model)) for model in MODELS]
    reading = [asyncio.create_task(one.follow(fleet, number)) for number, one in enumerate(followers)]
    for follower in followers:
        await follower.wait_for_index(20)
    await change(cluster, stream, await cluster.leader(stream))
    await asyncio.gather(*reading)
    longest = max(follower.longest_pause_seconds for follower in followers)
    print(f"{stream}, {change.__name__}: the longest pause of a reader was {longest:.1f} s")
    assert [follower.text for follower in followers] == [text_of(model) for model in MODELS]
    async with log_of(cluster.url) as log:
        return [
            Counter(type(event).__name__ for event, _ in await events_of(log, follower.answer))
            for follower in followers
        ]


@pytest.mark.parametrize(
    ("stream", "change"),
    [(subjects.TOKENS, told_to), (subjects.TOKENS, by_a_death), (subjects.CHATS, by_a_death)],
    ids=lambda one: getattr(one, "__name__", one),
)
async def test_a_change_of_leader_is_a_pause_without_loss_and_without_a_second_call_of_the_provider(
    cluster: NatsCluster,
    fleet: System,
    stream: str,
    change: Callable[[NatsCluster, str, str], Awaitable[None]],
) -> None:
    for events in await read_through(cluster, fleet, stream, change):
        assert events["GenerationStarted"] == events["GenerationEnded"] == 1


async def test_who_is_connected_to_a_node_that_hangs_is_silent_and_another_goes_on_without_loss(
    cluster: NatsCluster, fleet: System
) -> None:
    for events in await read_through(cluster, fleet, subjects.TOKENS, by_a_node_that_hangs):
        assert events["GenerationEnded"] == 1
        assert events["GenerationReset"] == 0
