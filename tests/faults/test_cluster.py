"""A cluster of three NATS nodes changes its leaders in the middle of answers: told to, by a death, by a node that hangs."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from shared import subjects
from tests.answers import Follower, asked, events_of, log_of, text_of
from tests.nats_cluster import NatsCluster
from tests.servers import ServerProcess
from tests.system import System

pytestmark = pytest.mark.timeout(240)

MODELS = ("demo/900x10ms", "demo/450x20ms", "demo/300x30ms")
HANGS_SECONDS = 8.0
"""Longer than it takes the others to choose another leader."""


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


async def told_to(cluster: NatsCluster, stream: str, _leads: ServerProcess) -> None:
    async with log_of(cluster.url) as log:
        reply = await log.ask(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", "", timeout_seconds=10.0)
    assert reply is not None
    assert json.loads(reply)["success"], reply


async def by_a_death(_cluster: NatsCluster, _stream: str, leads: ServerProcess) -> None:
    await leads.kill9()
    await leads.start()


async def by_a_node_that_hangs(_cluster: NatsCluster, _stream: str, leads: ServerProcess) -> None:
    leads.pause()
    await asyncio.sleep(HANGS_SECONDS)
    leads.resume()


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        (subjects.TOKENS, told_to),
        (subjects.TOKENS, by_a_death),
        (subjects.TOKENS, by_a_node_that_hangs),
        (subjects.CHATS, by_a_death),
    ],
    ids=lambda one: getattr(one, "__name__", one),
)
async def test_a_change_of_leader_is_a_pause_without_loss_and_without_a_second_call_of_the_provider(
    cluster: NatsCluster,
    fleet: System,
    stream: str,
    change: Callable[[NatsCluster, str, ServerProcess], Awaitable[None]],
) -> None:
    followers = [Follower(await asked(fleet, model)) for model in MODELS]
    reading = [asyncio.create_task(one.follow(fleet, number)) for number, one in enumerate(followers)]
    for follower in followers:
        await follower.reached(20)
    before = await cluster.leader(stream)
    await change(cluster, stream, cluster.processes[before])
    await asyncio.gather(*reading)
    assert await cluster.leader(stream) != before
    async with log_of(cluster.url) as log:
        for model, follower in zip(MODELS, followers, strict=True):
            assert follower.text == text_of(model)
            kinds = [type(event).__name__ for event, _ in await events_of(log, follower.answer)]
            assert kinds.count("GenerationStarted") == kinds.count("GenerationEnded") == 1
    longest = max(follower.longest_pause_seconds for follower in followers)
    print(f"{stream}, {change.__name__}: the longest pause of a reader was {longest:.1f} s")
