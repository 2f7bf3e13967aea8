"""The OpenAPI document says all, and every example in it works."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from infra.chaos.fleet import PostgresProcess
from services.api.app import make_app
from services.api.http import problems
from services.api.http.openapi import examples
from shared.settings import Settings
from tests.support.reader import Reader
from tests.support.servers import NatsProcess, new_database, temporary_data
from tests.support.system import Client, System

DOCUMENT = make_app(Settings()).openapi()
METHODS = {"get", "post", "put", "patch", "delete"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_described() -> None:
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for method, path, operation in operations(DOCUMENT):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert operation["description"], where
        assert re.fullmatch("[a-z_]+", operation["operationId"]), where
        assert set(operation["tags"]) <= tags, where
        for status, response in operation["responses"].items():
            assert response["description"], f"{where} {status}"
        assert any(status < "300" for status in operation["responses"]), where


def test_every_problem_is_a_problem_document_with_an_example_of_each_type() -> None:
    seen = set()
    for _, _, operation in operations(DOCUMENT):
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                if media_type != problems.MEDIA_TYPE:
                    continue
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                for type_, example in content["examples"].items():
                    assert example["value"]["type"] == f"urn:unspool:{type_}"
                    assert example["value"]["status"] == int(status)
                    seen.add(type_)
    # What no route can say for itself: HTTP's own, and our faults.
    general = {"bad-http", "bad-request", "head-too-large", "method-not-allowed", "internal"}
    assert seen == set(problems.TYPES) - general


def test_a_key_is_asked_for_where_one_is_set() -> None:
    assert "securitySchemes" not in DOCUMENT["components"]
    guarded = make_app(Settings(api_key="x")).openapi()
    assert guarded["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for _, path, operation in operations(guarded):
        is_open = path in {"/livez", "/readyz"}
        assert operation.get("security") == (None if is_open else [{"key": []}])
        assert is_open or "401" in operation["responses"]


@pytest.fixture(scope="module")
async def client(postgres: PostgresProcess) -> AsyncIterator[Client]:
    """Of a system of its own: the examples have ids, which can be used once."""
    with temporary_data() as data:
        async with (
            NatsProcess(data) as nats,
            new_database(postgres) as database,
            System(nats.url, database, data) as system,
            system.client() as client,
        ):
            yield client


async def test_every_example_works_in_the_order_of_a_conversation(client: Client) -> None:
    order = [
        "create_chat", "post_message", "read_answer", "stream_answer", "regenerate", "cancel", "change_chat",
        "read_chat", "list_chats", "events", "models", "livez", "readyz", "metrics", "delete_chat",
    ]  # fmt: skip
    found = {
        operation["operationId"]: (method, path, operation)
        for method, path, operation in operations(DOCUMENT)
    }
    assert set(order) == set(found)
    for name in order:
        method, path, operation = found[name]
        for body in bodies(operation):
            status, answer = await call(client, method, path, operation, body)
            assert str(status) in {status for status in operation["responses"] if status < "300"}, (
                name,
                body,
                answer,
            )
            if "answer" in answer:  # a branch takes the next question when this one is answered
                assert (await Reader().read(client, answer["answer"])).done is not None


def bodies(operation: dict[str, Any]) -> list[Any]:
    if "requestBody" not in operation:
        return [None]
    content = operation["requestBody"]["content"]["application/json"]
    return [example["value"] for example in content["examples"].values()]


async def call(
    client: Client, method: str, path: str, operation: dict[str, Any], body: Any
) -> tuple[int, dict[str, Any]]:
    """With the examples of its parameters. Of a stream, only that it begins."""
    given: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    for parameter in operation.get("parameters", []):
        for example in parameter.get("examples", {}).values():
            given[parameter["in"]][parameter["name"]] = example["value"]
    request = client.http.build_request(
        method,
        path.format(**given["path"]),
        params=given["query"],
        headers=given["header"],
        **({} if body is None else {"json": body}),
    )
    response = await client.http.send(request, stream=True)
    try:
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            assert (await anext(response.aiter_bytes())).startswith(b"retry: ")
            return response.status_code, {}
        text = (await response.aread()).decode()
        return response.status_code, response.json() if text.startswith("{") else {}
    finally:
        await response.aclose()


async def test_the_examples_name_one_conversation(client: Client) -> None:
    assert (
        await client.http.get(f"/v1/chats/{examples.CHAT}")
    ).status_code == 404  # the last example deleted it


async def test_docs_need_nothing_from_elsewhere(client: Client) -> None:
    page = await client.http.get("/docs")
    assert page.status_code == 200
    assert not re.search(r"""(src|href)=["']https?:""", page.text)
    addresses = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text) + re.findall(
        r"url: '([^']+)'", page.text
    )
    assert len(addresses) == 4
    responses = await asyncio.gather(*(client.http.get(f"/{address}") for address in addresses))
    assert [response.status_code for response in responses] == [200] * 4
    served = await client.http.get("/openapi.json")
    assert served.json() == DOCUMENT
