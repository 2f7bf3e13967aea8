"""What becomes of an answer when its provider misbehaves: real services, a provider that a test scripts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.provider_scripts import Step, openai, openai_events, status, stream
from tests.support.reader import Reader, at_index
from tests.support.scripted_provider import ScriptedProvider
from tests.support.servers import NatsProcess, PostgresProcess, temporary_data
from tests.support.system import Client, System

CONFIG = """
[providers.plain]
kind = "openai"
base_url = "{url}"
models = ["m"]
[providers.prefilling]
kind = "openai"
base_url = "{url}"
models = ["p"]
prefill = true
[providers.small]
kind = "openai"
base_url = "{url}"
models = ["s"]
context_tokens = 400
"""


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as made:
        yield made


@pytest.fixture(scope="module")
async def scripted(provider: ScriptedProvider) -> AsyncIterator[System]:
    """A system of its own: another's generators would take the requests."""
    with temporary_data() as directory:
        config = directory / "scripted.toml"
        config.write_text(CONFIG.format(url=provider.base_url))
        async with contextlib.AsyncExitStack() as stack:
            nats = await stack.enter_async_context(NatsProcess(directory / "nats"))
            postgres = await stack.enter_async_context(PostgresProcess(directory / "postgres"))
            settings: dict[str, Any] = {
                "config": config,
                "titles": False,
                "answers_in_flight_max": 1,
                "provider_backoff_seconds": 0.01,
                "answer_max_bytes": 2000,
                "output_tokens_max": 100,
            }
            yield await stack.enter_async_context(System(nats.url, postgres.url, directory, **settings))


@pytest.fixture
async def client(scripted: System) -> AsyncIterator[Client]:
    async with scripted.client() as made:
        yield made


async def ask(client: Client, model: str = "plain/m", **body: Any) -> dict[str, str]:
    return await client.ask_new_chat(model, **body)


async def read(client: Client, asked: dict[str, str]) -> Reader:
    reader = await Reader().read(client, asked["answer"])
    assert reader.done is not None
    return reader


def names(reader: Reader) -> list[str]:
    return [name for name, _ in reader.events]


async def test_a_busy_provider_is_asked_again_before_the_first_token(
    client: Client, provider: ScriptedProvider
) -> None:
    provider.script(status(429, headers={"retry-after-ms": "5"}), status(503), openai("fine"))
    reader = await read(client, await ask(client))
    assert (reader.text, names(reader).count("started")) == ("fine", 1)


async def test_a_providers_400_reaches_the_client_as_what_it_is(
    client: Client, provider: ScriptedProvider
) -> None:
    provider.script(status(400, "temperature must be at most 1"))
    reader = await read(client, await ask(client))
    assert reader.done is not None
    assert reader.done["status"] == "failed"
    error = reader.done["error"]
    assert (error["code"], error["status"]) == ("provider-refused", 400)
    assert "temperature must be at most 1" in error["detail"]


async def test_a_broken_stream_is_gone_on_with_where_the_provider_can_continue(
    client: Client, provider: ScriptedProvider
) -> None:
    broken = stream(*openai_events("One ", "two ", finish_reason=None, done=False), Step.CUT)
    provider.script(broken, openai("three."))
    before = len(provider.requests)
    asked = await ask(client, "prefilling/p")
    reader = await read(client, asked)
    assert reader.text == "One two three."
    assert "reset" not in names(reader)
    # Without its last space: models begin a word with it, and it is not taken twice (`continuation.py`).
    assert provider.requests[before + 1].json["messages"][-1] == {"role": "assistant", "content": "One two"}
    attempts = (await client.answer(asked["answer"]))["attempts"]
    assert [span["attempt"] for span in attempts] == [1, 2]


async def test_a_broken_stream_is_begun_again_where_the_provider_cannot_continue(
    client: Client, provider: ScriptedProvider
) -> None:
    broken = stream(*openai_events("lost", finish_reason=None, done=False), Step.CUT)
    provider.script(broken, openai("kept"))
    reader = await read(client, await ask(client))
    assert (reader.text, reader.last_index) == ("kept", 2)
    assert "reset" in names(reader)


async def test_a_refused_prefill_costs_a_reset_and_not_the_answer(
    client: Client, provider: ScriptedProvider
) -> None:
    broken = stream(*openai_events("lost", finish_reason=None, done=False), Step.CUT)
    provider.script(broken, status(400, "assistant message must not be last"), openai("kept"))
    reader = await read(client, await ask(client, "prefilling/p"))
    assert (reader.text, names(reader).count("reset")) == ("kept", 1)


async def test_a_provider_that_breaks_again_and_again_ends_as_failed_with_the_text_so_far_and_can_be_asked_anew(
    client: Client, provider: ScriptedProvider
) -> None:
    def broken(text: str) -> Any:
        return stream(*openai_events(text, finish_reason=None, done=False), Step.CUT)

    provider.script(broken("a"), broken("b"), broken("c"))
    asked = await ask(client, "prefilling/p")
    reader = await read(client, asked)
    assert reader.done is not None
    assert (reader.done["status"], reader.text) == ("failed", "abc")
    assert reader.done["error"]["code"] == "provider-interrupted"
    again = await client.http.post(f"/v1/answers/{asked['answer']}/regenerate", json={})
    assert (await read(client, again.json())).text == "Hello there."


async def test_cancel_closes_the_providers_connection_at_once(
    client: Client, provider: ScriptedProvider
) -> None:
    provider.script(stream(*openai_events("begun", finish_reason=None, done=False), Step.STALL))
    requests = len(provider.requests)
    asked = await ask(client)
    exchange = await provider.wait_requests(requests + 1)
    await Reader().read(client, asked["answer"], until=at_index(1))
    assert (await client.http.post(f"/v1/answers/{asked['answer']}/cancel")).status_code in {200, 202}
    async with asyncio.timeout(30):
        await exchange.gone.wait()
    reader = await read(client, asked)
    assert reader.done is not None
    assert (reader.done["status"], reader.text) == ("cancelled", "begun")


async def test_a_queued_answer_that_is_cancelled_never_calls_the_provider(
    client: Client, provider: ScriptedProvider
) -> None:
    release = asyncio.Event()
    provider.script(
        stream(*openai_events("first", finish_reason=None, done=False), release, *openai_events("!"))
    )
    requests = len(provider.requests)
    first = await ask(client)  # the generator makes one answer at a time
    await provider.wait_requests(requests + 1)
    second = await ask(client)
    assert (await client.answer(second["answer"]))["status"] == "queued"
    assert (await client.http.post(f"/v1/answers/{second['answer']}/cancel")).status_code in {200, 202}
    release.set()
    assert (await read(client, first)).text == "first!"
    reader = await read(client, second)
    assert reader.done is not None
    assert reader.done["status"] == "cancelled"
    assert len(provider.requests) == requests + 1


async def test_an_answer_ends_with_length_at_its_limit(client: Client, provider: ScriptedProvider) -> None:
    provider.script(openai(*["x" * 100] * 50))
    reader = await read(client, await ask(client))
    assert reader.done is not None
    assert (reader.done["finish_reason"], len(reader.text)) == ("length", 2000)


async def test_a_long_chat_is_trimmed_to_the_window_and_says_what_was_left_out(
    client: Client, provider: ScriptedProvider
) -> None:
    chat = await client.chat(model="small/s", system="Always be brief.")
    for number in range(6):
        asked = await client.ask(chat, f"question {number} " + "filler " * 30)
        reader = await read(client, asked)
    sent = provider.requests[-1].json["messages"]
    assert sent[0] == {"role": "system", "content": "Always be brief."}
    assert sent[-1]["content"].startswith("question 5")
    assert "question 0" not in str(sent)
    left_out = (await client.answer(asked["answer"]))["left_out"]
    assert left_out > 0
    assert dict(reader.events)["started"]["left_out"] == left_out


async def test_params_pass_through_to_the_provider(client: Client, provider: ScriptedProvider) -> None:
    params = {"temperature": 0.3, "stop": ["END"], "max_output_tokens": 7, "min_p": 0.1}
    await read(client, await ask(client, params=params))
    sent = provider.requests[-1].json
    assert (sent["temperature"], sent["stop"], sent["min_p"]) == (0.3, ["END"], 0.1)
    assert 7 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


async def test_nul_and_lone_surrogates_of_a_model_are_stored_and_served_as_replacement_characters(
    client: Client, provider: ScriptedProvider
) -> None:
    provider.script(openai("a\x00b\ud800c"))
    reader = await read(client, await ask(client))
    assert reader.text == "a\ufffdb\ufffdc"
    assert reader.done is not None
    found = await client.http.get("/v1/chats", params={"after": reader.done["cursor"]})
    assert found.status_code == 200
