"""The broker's machine loses its power: a log that ends earlier than what it had acknowledged.

As near as one machine can show it: the store is copied in mid-run, and later NATS is killed and started on the
copy. A real cut costs 100 ms at most; this one costs seconds, requests and ends of answers among them.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from shared.domain.events import TokenEmitted
from tests.support.answers import QUESTION, Follower, ask_new_chat, events_of, log_of, state_of, text_of
from tests.support.servers import NatsProcess
from tests.support.system import ROOT, System

LONG = ("demo/1500x10ms", "plain/750x20ms")
"""Long enough that they are still generated when the power is cut, also on a machine that is busy."""
SHORT = "demo/100x10ms"
LONGER = "demo/300x10ms"
LOST_TOKENS = 60
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05
# A worker that is asked whether it lives may be slow on a machine that is busy: it must not count as dead here.
PROVIDERS = 'question_timeout_seconds = 20.0\n[providers.demo]\nkind = "demo"\n[providers.plain]\nkind = "demo"\nprefill = false\n'


@pytest.fixture
async def fleet(own_nats: NatsProcess, database: str, data_directory: Path) -> AsyncIterator[System]:
    config = data_directory / "providers.toml"
    config.write_text(PROVIDERS)
    made = System(own_nats.url, database, data_directory, apis=2, generators=2, config=config)
    async with made:
        yield made


class Machine:
    """NATS with a store that can be set back."""

    def __init__(self, nats: NatsProcess, data: Path) -> None:
        self._nats = nats
        self._store = data / "nats"
        self._copy = data / "nats-before"

    def copy(self) -> None:
        self._nats.pause()
        try:
            shutil.copytree(self._store, self._copy)
        finally:
            self._nats.resume()

    async def cut(self) -> None:
        """All since the copy is gone."""
        await self._nats.kill9()
        shutil.rmtree(self._store)
        self._copy.rename(self._store)

    async def power_back(self) -> None:
        await self._nats.start()


async def test_after_a_power_cut_workers_restore_their_tails_and_nothing_is_skipped_silently(
    fleet: System, own_nats: NatsProcess, database: str, data_directory: Path
) -> None:
    machine = Machine(own_nats, data_directory)
    followers = [Follower(await ask_new_chat(fleet, model)) for model in LONG]
    ending = Follower(await ask_new_chat(fleet, SHORT))
    reading = [
        asyncio.create_task(one.follow(fleet, number)) for number, one in enumerate((*followers, ending))
    ]
    for follower in (*followers, ending):
        await follower.wait_for_index(30)
    machine.copy()
    lost = await Follower(await ask_new_chat(fleet, SHORT)).follow(fleet)
    await reading[-1]
    for follower in followers:
        await follower.wait_for_index(follower.last_index + LOST_TOKENS)
    await machine.cut()
    assert [follower.done for follower in followers] == [None, None], "they ended before the power was cut"
    await machine.power_back()

    await wait_for_red(fleet)
    await asyncio.gather(*reading)
    for model, follower in zip(LONG, followers, strict=True):
        assert follower.text == text_of(model)
    await check_tails_are_restored(own_nats.url, followers)
    await check_ended_again(own_nats.url, ending)
    await check_stays_red_though_the_log_has_grown(fleet)
    await rebuild(own_nats.url, database)
    await check_history(fleet, [*followers, ending])
    await check_is_not_there(fleet, lost)
    await check_can_be_asked_again(fleet, lost)


async def wait_for_red(fleet: System) -> None:
    """The projector is ahead of the log: it stops, and its replica says what is to be done."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any("unspool rebuild" in check["projector"] for check in await checks_of(fleet)):
            await asyncio.sleep(POLL_SECONDS)


async def check_stays_red_though_the_log_has_grown(fleet: System) -> None:
    """Past the old checkpoint, with other facts at the same sequences: also a new process notices."""
    for api in fleet.apis:
        await api.kill()
        await api.start()
    await wait_for_red(fleet)


async def checks_of(fleet: System) -> list[dict[str, str]]:
    async with httpx.AsyncClient(timeout=10.0) as client:
        ready = [response for url in fleet.urls if (response := await readiness(client, url)) is not None]
    for response in ready:
        stopped = response.json()["checks"]["projector"] != "ok"
        assert response.status_code == 503 or not stopped
    return [response.json()["checks"] for response in ready]


async def readiness(client: httpx.AsyncClient, url: str) -> httpx.Response | None:
    """None while the process does not listen."""
    try:
        return await client.get(f"{url}/readyz")
    except httpx.TransportError:
        return None


async def check_tails_are_restored(nats_url: str, followers: list[Follower]) -> None:
    """By the worker that lives, from its memory: one attempt, and each token under its old index."""
    async with log_of(nats_url) as log:
        for follower in followers:
            events = [event for event, _ in await events_of(log, follower.answer)]
            tokens = [event for event in events if isinstance(event, TokenEmitted)]
            assert [token.index for token in tokens] == list(range(1, len(tokens) + 1))
            assert {event.attempt for event in events} == {1}
            said = [data["text"] for event, data in follower.events if event == "token"]
            if not any(event == "snapshot" for event, _ in follower.events):
                assert said == [token.text for token in tokens]


async def check_ended_again(nats_url: str, ending: Follower) -> None:
    """Its end was lost, its request was not: it is ended once more, with the same text."""
    async with log_of(nats_url) as log, asyncio.timeout(PATIENCE_SECONDS):
        while (await state_of(log, ending.answer)).ended is None:
            await asyncio.sleep(POLL_SECONDS)
        assert (await state_of(log, ending.answer)).whole_text == ending.text == text_of(SHORT)


async def check_is_not_there(fleet: System, lost: Follower) -> None:
    """A question that the log has lost is not there for anyone; who asked can ask again, by the same id."""
    async with httpx.AsyncClient(timeout=30.0) as client:
        for url in fleet.urls:
            assert (await client.get(f"{url}/v1/answers/{lost.answer}")).status_code == 404
            headers = {"last-event-id": lost.cursor or ""}
            stream = await client.get(f"{url}/v1/answers/{lost.answer}/stream", headers=headers)
            assert stream.status_code == 404


async def ask_again(fleet: System, answer: str, model: str) -> None:
    chat, local = answer.split("_a")
    async with fleet.client(1) as client:
        await client.chat(id=chat)
        assert (await client.ask(chat, QUESTION, id=local, model=model))["answer"] == answer


async def check_can_be_asked_again(fleet: System, lost: Follower) -> None:
    await ask_again(fleet, lost.answer, SHORT)
    assert (await Follower(lost.answer).follow(fleet)).text == lost.text


async def rebuild(nats_url: str, database: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("UNSPOOL_")}
    servers = {"UNSPOOL_NATS_URL": nats_url, "UNSPOOL_POSTGRES_URL": database}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", "rebuild"), cwd=ROOT, env=environ | servers
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert await process.wait() == 0


async def check_history(fleet: System, followers: list[Follower]) -> None:
    for number in range(len(fleet.apis)):
        await fleet.wait_until_ready(number)
    for follower in followers:
        chat = follower.answer.partition("_")[0]
        for number in range(len(fleet.apis)):
            async with fleet.client(number) as client:
                shown: dict[str, Any] = (await client.http.get(f"/v1/chats/{chat}")).json()
            assert shown["generating"] is False
            assert [node["text"] for node in shown["messages"] if node["role"] == "assistant"] == [
                follower.text
            ]


async def test_a_question_that_was_lost_while_it_was_answered_can_be_asked_again(
    fleet: System, own_nats: NatsProcess, database: str, data_directory: Path
) -> None:
    """Its answer goes with it: an end without a question would bar the ids for ever."""
    machine = Machine(own_nats, data_directory)
    await Follower(await ask_new_chat(fleet, SHORT)).follow(fleet)
    machine.copy()
    lost = Follower(await ask_new_chat(fleet, LONGER))
    reading = asyncio.create_task(lost.follow(fleet))
    await lost.wait_for_index(30)
    await machine.cut()
    await machine.power_back()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any('"chat-gone"' in generator.log() for generator in fleet.generators):
            await asyncio.sleep(POLL_SECONDS)
    reading.cancel()
    await asyncio.wait([reading])
    async with log_of(own_nats.url) as log:
        assert await events_of(log, lost.answer) == []
    await rebuild(own_nats.url, database)
    for number in range(len(fleet.apis)):
        await fleet.wait_until_ready(number)
    again = Follower(lost.answer)
    await ask_again(fleet, lost.answer, LONGER)
    assert (await again.follow(fleet)).text == text_of(LONGER)


async def test_rows_that_are_ahead_of_the_log_are_made_again_from_it(
    fleet: System, own_nats: NatsProcess, database: str
) -> None:
    follower = await Follower(await ask_new_chat(fleet, SHORT)).follow(fleet)
    for api in fleet.apis:
        await api.kill()
    connection = await asyncpg.connect(database)
    await connection.execute("UPDATE unspool.checkpoint SET position = position + 1000")
    await connection.close()
    for api in fleet.apis:
        await api.start()
    await wait_for_red(fleet)
    await rebuild(own_nats.url, database)
    await check_history(fleet, [follower])
