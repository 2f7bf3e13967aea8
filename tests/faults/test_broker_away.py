"""NATS away for a while, in the middle of several answers: everybody waits, nobody takes over, nothing is promised."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.support.answers import Follower, ask_new_chat, events_of, log_of, text_of
from tests.support.servers import NatsProcess
from tests.support.system import System

MODELS = ("demo/500x10ms", "demo/300x20ms", "plain/400x10ms", "plain/200x30ms")
AWAY_SECONDS = 8.0
PROVIDERS = """
[providers.demo]
kind = "demo"

[providers.plain]
kind = "demo"
prefill = false
"""


@pytest.fixture
async def fleet(own_nats: NatsProcess, database: str, data_directory: Path) -> AsyncIterator[System]:
    config = data_directory / "providers.toml"
    config.write_text(PROVIDERS)
    made = System(own_nats.url, database, data_directory, apis=2, generators=2, config=config)
    async with made:
        yield made


async def test_an_outage_of_nats_is_a_pause_for_running_answers_and_503_for_new_ones(
    fleet: System, own_nats: NatsProcess
) -> None:
    followers = [Follower(await ask_new_chat(fleet, model)) for model in MODELS]
    reading = [asyncio.create_task(one.follow(fleet, number)) for number, one in enumerate(followers)]
    async with fleet.client() as client:
        chat = await client.chat()
    ended = (await Follower(await ask_new_chat(fleet, "demo/3x1ms")).follow(fleet)).answer
    for follower in followers:
        await follower.wait_for_index(20)
    await own_nats.kill9()
    refused = await post_meanwhile(fleet, chat)
    await read_meanwhile(fleet, ended)
    await own_nats.start()
    for number in range(len(fleet.apis)):
        await fleet.wait_until_ready(number)
    await asyncio.gather(*reading)
    for model, follower in zip(MODELS, followers, strict=True):
        assert follower.text == text_of(model)
        assert [event for event, _ in follower.events].count("started") == 1
    await check_the_same_worker_went_on(own_nats.url, followers)
    await check_nothing_was_stored_twice(fleet, own_nats.url, chat, refused)


async def post_meanwhile(fleet: System, chat: str) -> list[str]:
    """Calls both replicas while NATS is away; the ids of what was refused."""
    refused: list[str] = []
    loop = asyncio.get_running_loop()
    back_at = loop.time() + AWAY_SECONDS
    async with httpx.AsyncClient(timeout=30.0) as client:
        while loop.time() < back_at:
            for url in fleet.urls:
                body = {
                    "id": str(uuid4()),
                    "content": "Is anybody there?",
                    "model": "demo/3x1ms",
                    "parent_id": None,
                }
                response = await client.post(f"{url}/v1/chats/{chat}/messages", json=body)
                assert response.status_code == 503, response.text
                assert int(response.headers["retry-after"]) > 0
                assert response.headers["content-type"] == "application/problem+json"
                refused.append(str(body["id"]))
                assert (await client.get(f"{url}/readyz")).status_code == 503
    return refused


async def read_meanwhile(fleet: System, answer: str) -> None:
    """An answer that has ended is read from memory, or the client is told to come again."""
    async with httpx.AsyncClient(timeout=30.0) as client:
        for url in fleet.urls:
            for path in (answer, f"{answer}/stream"):
                response = await client.get(f"{url}/v1/answers/{path}")
                assert response.status_code in {200, 503}, response.text
                if response.status_code == 503:
                    assert response.headers["content-type"] == "application/problem+json"
                    assert "retry-after" in response.headers


async def check_the_same_worker_went_on(nats_url: str, followers: list[Follower]) -> None:
    """One attempt, so the provider was called once."""
    async with log_of(nats_url) as log:
        for follower in followers:
            events = [event for event, _ in await events_of(log, follower.answer)]
            kinds = [type(event).__name__ for event in events]
            assert kinds.count("GenerationStarted") == kinds.count("GenerationEnded") == 1
            assert {event.attempt for event in events} == {1}


async def check_nothing_was_stored_twice(fleet: System, nats_url: str, chat: str, refused: list[str]) -> None:
    """What was refused may be asked again by its id: it is answered, once."""
    for id_ in refused[:2]:
        async with fleet.client() as client:
            body = {"id": id_, "content": "Is anybody there?", "model": "demo/3x1ms", "parent_id": None}
            response = await client.http.post(f"/v1/chats/{chat}/messages", json=body)
            assert response.status_code == 202
        answer = response.json()["answer"]
        await Follower(answer).follow(fleet)
        async with log_of(nats_url) as log:
            events = [event for event, _ in await events_of(log, answer)]
        assert [type(event).__name__ for event in events].count("GenerationEnded") == 1
