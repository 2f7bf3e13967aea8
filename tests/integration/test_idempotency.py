"""The promise: the same call again gives the same answer, and what it asks for happens once."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from shared.domain import subjects
from shared.domain.events import CatalogueAnnounced, encode
from shared.domain.subjects import Sequence
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support.reader import Reader
from tests.support.system import Client, System

SLOW = "demo/200x20ms"
CALLS = 6


@pytest.fixture(scope="module")
async def log(nats_url: str) -> AsyncIterator[EventLog]:
    made = await EventLog.connect(Settings(nats_url=nats_url), "idempotency")
    yield made
    await made.close()


async def facts(log: EventLog, chat: str) -> Counter[str]:
    """How many of each name a chat has."""
    return Counter(
        one.subject.rpartition(".")[2] for one in await log.read(subjects.facts(chat), Sequence(0))
    )


async def at_once(
    system: System, path: str, bodies: list[Any], headers: dict[str, str] | None = None
) -> list[httpx.Response]:
    """One call for each body, all under way together, in turn at both replicas."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(system.client(number)) for number in (0, 1)]
        calls = [
            clients[number % 2].http.post(path, json=body, headers=headers)
            for number, body in enumerate(bodies)
        ]
        return list(await asyncio.gather(*calls))


def one_document(responses: list[httpx.Response]) -> dict[str, Any]:
    documents = [response.json() for response in responses]
    assert all(document == documents[0] for document in documents)
    first: dict[str, Any] = documents[0]
    return first


def is_conflict(response: httpx.Response) -> bool:
    return (response.status_code, response.json()["type"]) == (409, "urn:unspool:id-conflict")


async def test_a_chat_is_made_once_however_often_and_wherever_it_is_asked_for(
    system: System, log: EventLog
) -> None:
    chat = str(uuid4())
    body = {"id": chat, "title": "Once", "metadata": {"a": [1, 2.5, None]}}
    responses = await at_once(system, "/v1/chats", [body] * CALLS)
    assert {response.status_code for response in responses} <= {200, 201}
    assert one_document(responses)["id"] == chat
    (again,) = await at_once(system, "/v1/chats", [body | {"id": chat.upper()}])
    assert (again.status_code, again.json()) == (200, responses[0].json())
    assert await facts(log, chat) == {"chat-created": 1}


async def test_a_message_is_asked_once_by_the_same_id_at_once_on_two_replicas(
    system: System, log: EventLog
) -> None:
    async with system.client() as client:
        for _ in range(5):
            chat = await client.chat(model="demo/3x1ms")
            body = {"id": str(uuid4()), "content": "once"}
            responses = await at_once(system, f"/v1/chats/{chat}/messages", [body] * CALLS)
            assert [response.status_code for response in responses] == [202] * CALLS
            assert one_document(responses)["message"] == f"{chat}_m{body['id']}"
            assert (await facts(log, chat))["message-requested"] == 1


async def test_the_same_message_again_gives_the_same_answer_while_it_is_made_and_after_its_end(
    system: System, log: EventLog
) -> None:
    async with system.client(0) as one, system.client(1) as two:
        chat = await one.chat(model="demo/50x5ms")
        body: dict[str, Any] = {"id": str(uuid4()), "content": "once", "params": {"temperature": 1}}
        first = await one.ask(chat, **body)
        assert await two.ask(chat, **body) == first
        assert (await Reader().read(one, first["answer"])).done is not None
        second = await one.ask(chat, "another, after it")  # the newest answer is now another's
        assert await two.ask(chat, **body) == first
        assert (await Reader().read(one, second["answer"])).done is not None
    assert (await facts(log, chat))["message-requested"] == 2


@pytest.mark.parametrize("header", [{}, {"idempotency-key": "a key of mine / Ünïcode"}], ids=["id", "key"])
async def test_other_content_under_the_same_id_or_key_is_a_conflict_and_appends_nothing(
    system: System, log: EventLog, header: dict[str, str]
) -> None:
    sent = {name.encode(): value.encode() for name, value in header.items()}
    named = {} if header else {"id": str(uuid4())}
    async with system.client() as client:
        chat = await client.chat(model="demo/3x1ms")

        async def post(**body: Any) -> httpx.Response:
            path = f"/v1/chats/{chat}/messages"
            return await client.http.post(path, json=named | body, headers=sent)

        first = await post(content="this")
        assert first.status_code == 202
        assert (await Reader().read(client, first.json()["answer"])).done is not None
        before = (await facts(log, chat))["message-requested"]
        for other in (
            {"content": "that"},
            {"content": "this", "model": "demo/20x5ms"},
            {"content": "this", "params": {"temperature": 0}},
            {"content": "this", "parent_id": first.json()["answer"]},
            {"content": "this", "metadata": {"a": 1}},
        ):
            assert is_conflict(await post(**other))
        assert (await post(content="this")).json() == first.json()
    assert (await facts(log, chat))["message-requested"] == before == 1


async def test_chats_and_regenerated_answers_conflict_likewise(system: System, log: EventLog) -> None:
    async with system.client() as client:
        chat = await client.chat(title="One")
        assert is_conflict(await client.http.post("/v1/chats", json={"id": chat, "title": "Other"}))
        asked = await client.ask(chat, model="demo/3x1ms")
        assert (await Reader().read(client, asked["answer"])).done is not None
        path, body = f"/v1/answers/{asked['answer']}/regenerate", {"id": str(uuid4())}
        responses = await at_once(system, path, [body] * CALLS)
        assert [response.status_code for response in responses] == [202] * CALLS
        assert (await Reader().read(client, one_document(responses)["answer"])).done is not None
        assert is_conflict(await client.http.post(path, json=body | {"model": "demo/20x5ms"}))
    assert (await facts(log, chat))["answer-requested"] == 1


async def test_an_idempotency_key_does_what_an_id_does_for_every_call_that_makes_something(
    system: System, log: EventLog
) -> None:
    key, other_key = ({"idempotency-key": str(uuid4())} for _ in range(2))
    body = {"title": "Once", "model": "demo/3x1ms"}
    chat = one_document(await at_once(system, "/v1/chats", [body] * CALLS, key))["id"]
    (other,) = await at_once(system, "/v1/chats", [body], other_key)
    assert other.json()["id"] != chat
    path = f"/v1/chats/{chat}/messages"
    asked = one_document(await at_once(system, path, [{"content": "once"}] * CALLS, key))
    async with system.client() as client:
        assert (await Reader().read(client, asked["answer"])).done is not None
    path = f"/v1/answers/{asked['answer']}/regenerate"
    again = one_document(await at_once(system, path, [{}] * CALLS, other_key))
    assert again["message"] == asked["message"]
    (reused,) = await at_once(system, path, [{}], key)
    assert is_conflict(reused)  # a key is for one call: what it asked for before was something else
    counted = await facts(log, chat)
    assert (counted["chat-created"], counted["message-requested"], counted["answer-requested"]) == (1, 1, 1)


async def test_of_different_messages_at_once_on_two_replicas_exactly_one_wins(
    system: System, log: EventLog
) -> None:
    async with system.client() as client:
        for _ in range(5):
            chat = await client.chat(model=SLOW)
            bodies = [{"id": str(uuid4()), "content": f"number {number}"} for number in range(CALLS)]
            responses = await at_once(system, f"/v1/chats/{chat}/messages", bodies)
            statuses = Counter(response.status_code for response in responses)
            assert statuses == {202: 1, 409: CALLS - 1}
            won = next(response.json() for response in responses if response.status_code == 202)
            for response in responses:
                if response.status_code == 409:
                    problem = response.json()
                    assert problem["type"] == "urn:unspool:answer-in-progress"
                    assert problem["answer"] == won["answer"]
            assert (await facts(log, chat))["message-requested"] == 1
            await client.http.post(f"/v1/answers/{won['answer']}/cancel")


async def test_a_response_that_was_lost_comes_by_asking_again(system: System, log: EventLog) -> None:
    async with system.client(1) as client:
        for _ in range(5):
            chat = await client.chat(model="demo/3x1ms")
            body = {"id": str(uuid4()), "content": "once"}
            await sent_and_gone(system.urls[0], f"/v1/chats/{chat}/messages", body)
            asked = await client.ask(chat, **body)
            assert (await Reader().read(client, asked["answer"])).done is not None
            assert (await facts(log, chat))["message-requested"] == 1


async def sent_and_gone(url: str, path: str, body: dict[str, str]) -> None:
    """A whole request, from a client that is gone before it can be answered."""
    _, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    writer.transport.abort()


async def test_a_call_that_is_repeated_when_its_model_has_gone_gets_its_answer_all_the_same(
    system: System, log: EventLog
) -> None:
    async with system.client(0) as one, system.client(1) as two:
        await offer(log, (one, two), "m")
        created = {"id": str(uuid4()), "model": "passing/m"}
        await one.chat(**created)
        body = {"id": str(uuid4()), "content": "once", "model": "passing/m"}
        asked = await one.ask(created["id"], **body)
        await offer(log, (one, two))
        assert (await two.http.post("/v1/chats", json=created)).status_code == 200
        assert await two.ask(created["id"], **body) == asked
        refused = await two.http.post("/v1/chats", json={"model": "passing/m"})
        assert refused.json()["type"] == "urn:unspool:unknown-model"


async def offer(log: EventLog, clients: tuple[Client, ...], *models: str) -> None:
    """Announces what a provider has, and waits until both replicas know."""
    announced = CatalogueAnnounced(provider="passing", kind="openai", models=models)
    await log.publish_latest(subjects.catalogue("passing"), encode(announced))
    for client in clients:
        async with asyncio.timeout(10):
            while any("passing/" in listed for listed in await _list_models(client)) != bool(models):
                await asyncio.sleep(0.1)


async def _list_models(client: Client) -> list[str]:
    return [model["id"] for model in (await client.http.get("/v1/models")).json()["data"]]
