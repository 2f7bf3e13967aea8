"""kill -9 of each process in turn, while an answer is being made: it ends, whole, and readers see a pause."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.generator.providers import Prompt, PromptMessage, demo
from tests.support.reader import Reader, at_index
from tests.support.servers import NatsProcess, PostgresProcess
from tests.support.system import System

MODEL = "300x10ms"
QUESTION = "What outlives a process?"


@pytest.fixture
async def nats_of_its_own(data_directory: Path) -> AsyncIterator[NatsProcess]:
    async with NatsProcess(data_directory) as process:
        yield process


@pytest.fixture
async def postgres_of_its_own(data_directory: Path) -> AsyncIterator[PostgresProcess]:
    async with PostgresProcess(data_directory) as process:
        yield process


@pytest.fixture
async def fragile(
    nats_of_its_own: NatsProcess, postgres_of_its_own: PostgresProcess, data_directory: Path
) -> AsyncIterator[System]:
    nats, postgres = nats_of_its_own.url, postgres_of_its_own.url
    async with System(nats, postgres, data_directory, apis=2, generators=2) as made:
        yield made


def whole_text() -> str:
    return "".join(demo.tokens(Prompt(model=MODEL, messages=(PromptMessage("user", QUESTION),))))


async def ask(system: System) -> dict[str, str]:
    async with system.client() as client:
        return await client.ask_new_chat(f"demo/{MODEL}", content=QUESTION)


async def read_until(system: System, reader: Reader, answer: str, index: int) -> None:
    async with system.client() as client:
        await reader.read(client, answer, until=at_index(index))
    assert reader.last_index >= index


async def read_to_the_end(system: System, reader: Reader, answer: str) -> None:
    """As a client does: what breaks off is gone on with, on the next replica."""
    turn = 0
    async with asyncio.timeout(60):
        while reader.done is None:
            turn += 1
            number = turn % len(system.apis)
            if not system.apis[number].is_running:
                continue
            async with system.client(number) as client:
                try:
                    await reader.read(client, answer)
                except AssertionError:  # not ready: a client gets 503 and comes again
                    await system.wait_until_ready(number)
    assert [event for event, _ in reader.events].count("done") == 1


async def check_history(system: System, reader: Reader, answer: str) -> None:
    assert reader.done is not None
    assert reader.done["status"] == "completed"
    async with system.client(1) as client:
        history = await client.history(answer.partition("_")[0], after=reader.done["cursor"])
    assert history["messages"][1]["text"] == reader.text
    assert history["generating"] is False


async def test_kill_of_the_generator_is_a_pause_and_nothing_else(fragile: System) -> None:
    asked, reader = await ask(fragile), Reader()
    await read_until(fragile, reader, asked["answer"], 30)
    working = next(one for one in fragile.generators if asked["answer"] in one.log())
    await working.kill()
    await read_to_the_end(fragile, reader, asked["answer"])
    await check_history(fragile, reader, asked["answer"])
    assert reader.text == whole_text()
    assert [data["attempt"] for event, data in reader.events if event == "started"][-1] == 2


async def test_sigterm_of_the_generator_hands_over_with_the_text_so_far(fragile: System) -> None:
    asked, reader = await ask(fragile), Reader()
    await read_until(fragile, reader, asked["answer"], 30)
    working = next(one for one in fragile.generators if asked["answer"] in one.log())
    assert await working.terminate() == 0
    await read_to_the_end(fragile, reader, asked["answer"])
    assert reader.text == whole_text()
    assert "handed-over" in working.log()


async def test_kill_of_an_api_moves_its_readers_to_the_other(fragile: System) -> None:
    asked, reader = await ask(fragile), Reader()
    await read_until(fragile, reader, asked["answer"], 30)
    await fragile.apis[0].kill()
    await read_to_the_end(fragile, reader, asked["answer"])
    await check_history(fragile, reader, asked["answer"])
    assert reader.text == whole_text()


async def test_kill_of_nats_is_a_pause_and_the_same_worker_goes_on(
    fragile: System, nats_of_its_own: NatsProcess
) -> None:
    asked, reader = await ask(fragile), Reader()
    await read_until(fragile, reader, asked["answer"], 30)
    await nats_of_its_own.kill9()
    await nats_of_its_own.start()
    await read_to_the_end(fragile, reader, asked["answer"])
    await check_history(fragile, reader, asked["answer"])
    assert reader.text == whole_text()
    assert [event for event, _ in reader.events].count("started") == 1


async def test_kill_of_postgres_does_not_disturb_the_answer_and_history_catches_up(
    fragile: System, postgres_of_its_own: PostgresProcess
) -> None:
    asked, reader = await ask(fragile), Reader()
    await read_until(fragile, reader, asked["answer"], 30)
    await postgres_of_its_own.kill9()
    async with fragile.client() as client:
        chat = asked["answer"].partition("_")[0]
        assert (await client.http.get(f"/v1/chats/{chat}")).status_code == 503
        other = await client.ask_new_chat("demo/3x1ms")
        assert (await Reader().read(client, other["answer"])).done is not None
    await read_to_the_end(fragile, reader, asked["answer"])
    assert reader.text == whole_text()
    await postgres_of_its_own.start()
    await fragile.wait_until_ready(1)
    async with asyncio.timeout(30):
        while True:
            async with fragile.client(1) as client:
                response = await client.http.get(f"/v1/chats/{chat}", params={"after": reader.done["cursor"]})  # type: ignore[index]
            if response.status_code == 200:
                break
            assert response.status_code == 503
    await check_history(fragile, reader, asked["answer"])


async def test_all_of_them_one_after_the_other(
    fragile: System, nats_of_its_own: NatsProcess, postgres_of_its_own: PostgresProcess
) -> None:
    asked, reader = await ask(fragile), Reader()
    await read_until(fragile, reader, asked["answer"], 20)
    await fragile.apis[0].kill()
    await fragile.apis[0].start()
    await fragile.generators[0].kill()
    await fragile.generators[0].start()
    await nats_of_its_own.kill9()
    await nats_of_its_own.start()
    await postgres_of_its_own.kill9()
    await postgres_of_its_own.start()
    await fragile.wait_until_ready(0)
    await read_to_the_end(fragile, reader, asked["answer"])
    assert reader.text == whole_text()
