"""The promise: what is wrong is refused with a document that says what, and nothing of it gets into the log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from string import Template
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from msgspec import Struct

from services.api.http.http_protocol import HEAD_MAX_BYTES
from services.api.http.json_body import DEPTH_MAX
from shared.domain import subjects
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support.bad_requests import ANSWER, CASES, CHAT, CHATS, MESSAGES, STREAM, Bad
from tests.support.reader import Reader
from tests.support.servers import NatsProcess, PostgresProcess, new_database, temporary_data
from tests.support.system import Client, System

_CHUNK_BYTES = 64 * 1024
_ANSWER_SECONDS = 10


class Scene(Struct, frozen=True):
    """A system to which nobody else writes, with two chats whose answers are at their end."""

    system: System
    client: Client
    log: EventLog
    ids: dict[str, str]

    async def written(self) -> int:
        return (await self.log.position(subjects.CHATS)).last

    def filled(self, text: str) -> str:
        return Template(text.replace("$chat_", "${chat}_")).safe_substitute(self.ids)


@pytest.fixture(scope="module")
async def scene(postgres: PostgresProcess) -> AsyncIterator[Scene]:
    with temporary_data() as data:
        async with (
            NatsProcess(data) as nats,
            new_database(postgres) as database,
            System(nats.url, database, data, titles=False) as system,
            system.client() as client,
        ):
            log = await EventLog.connect(Settings(nats_url=nats.url), "bad-input")
            one, other = [await client.ask_new_chat("demo/3x1ms") for _ in range(2)]
            for asked in (one, other):
                assert (await Reader().read(client, asked["answer"])).done is not None
            ids = one | {"chat": one["answer"].partition("_")[0], "other": other["answer"]}
            yield Scene(system, client, log, ids)
            await log.close()


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The document, whose form is the same for every error."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    problem: dict[str, Any] = response.json()
    assert problem["type"].startswith("urn:unspool:")
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert 0 < len(problem["detail"]) < 1000
    assert len(response.content) < 20_000
    return problem


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.name))
async def test_what_is_wrong_is_refused_by_name_and_appends_nothing(scene: Scene, case: Bad) -> None:
    before = await scene.written()
    body = scene.filled(case.body.decode()).encode() if b"$" in case.body else case.body
    response = await scene.client.http.request(
        case.method,
        scene.filled(case.path),
        content=chunks(body) if case.chunked else body,
        headers=encoded(case.headers),
    )
    problem = problem_of(response)
    assert (response.status_code, problem["type"]) == (case.status, f"urn:unspool:{case.type}"), problem
    if case.field is not None:
        assert case.field in {error["field"] for error in problem["errors"]}
        assert all(error["message"] for error in problem["errors"])
    assert await scene.written() == before
    assert "Traceback" not in scene.system.apis[0].log()


def encoded(headers: Mapping[str, str | bytes]) -> dict[bytes, bytes]:
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in headers.items()
    }


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS, to a port that speaks none
        b"BREW /v1/chats HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /v1/chats/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"POST /v1/chats HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/chats HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 30 + b"\r\n\r\n",
        b"POST /v1/chats HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chats HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
    ids=ascii,
)
async def test_what_is_no_http_request_gets_a_document_too(scene: Scene, sent: bytes) -> None:
    before = await scene.written()
    response = await exchange(scene.system.urls[0], sent)
    problem = problem_of(response)
    assert (response.status_code, problem["type"]) == (400, "urn:unspool:bad-http")
    assert await scene.written() == before
    assert "Traceback" not in scene.system.apis[0].log()


@pytest.mark.parametrize("begun", [b"GET /", b"GET / HTTP/1.1\r\nhost: x\r\na: "], ids=ascii)
async def test_a_head_without_end_is_not_read_for_ever(scene: Scene, begun: bytes) -> None:
    response = await exchange(scene.system.urls[0], begun + b"x" * HEAD_MAX_BYTES)
    assert (response.status_code, problem_of(response)["type"]) == (431, "urn:unspool:head-too-large")


async def test_heads_of_any_legal_size_side_by_side_on_one_connection_are_read(scene: Scene) -> None:
    head = b"GET /livez HTTP/1.1\r\nhost: x\r\na: " + b"x" * (HEAD_MAX_BYTES - 1000) + b"\r\n"
    body = b"content-length: 500000\r\n\r\n" + b" " * 500_000
    answers = await exchange(scene.system.urls[0], (head + body) * 3 + head + b"connection: close\r\n\r\n")
    assert answers.content.count(b"HTTP/1.1 200 OK") == 3  # after the first, which is parsed


async def test_who_leaves_within_a_body_leaves_no_trace(scene: Scene) -> None:
    before = await scene.written()
    head = f"POST {scene.filled(MESSAGES)} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    for rest in ("content-length: 100\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n5\r\n{"):
        _, writer = await connect(scene.system.urls[0])
        writer.write((head + rest).encode())
        await writer.drain()
        writer.transport.abort()
    assert (await scene.client.http.get("/livez")).status_code == 200
    assert await scene.written() == before
    assert "Traceback" not in scene.system.apis[0].log()


async def test_a_stream_is_cut_when_its_reader_sends_without_end(scene: Scene) -> None:
    chat = await scene.client.chat(model="demo/2000x10ms")
    asked = await scene.client.ask(chat)
    reader, writer = await connect(scene.system.urls[0])
    head = f"GET {asked['stream']} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    await reader.readuntil(b"event: token")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(_ANSWER_SECONDS):
            writer.write(chunk * 20)
            while await reader.read(_CHUNK_BYTES):
                pass
    writer.close()
    stopped = await scene.client.http.post(f"/v1/answers/{asked['answer']}/cancel")
    # The cut connection did not end the answer: it was in generation until the cancel, which may take effect at once.
    assert stopped.json()["status"] in {"generating", "cancelled"}
    assert (await Reader().read(scene.client, asked["answer"])).done is not None
    assert "Traceback" not in scene.system.apis[0].log()


async def test_what_is_just_within_the_limits_is_stored_and_comes_back_as_it_was(scene: Scene) -> None:
    nested: Any = "the last"
    for _ in range(DEPTH_MAX - 2):
        nested = [nested]
    metadata = {
        "nested": nested,
        "numbers": [2**64 - 1, -(2**63), 2**53 + 1, 1.7976931348623157e308, 5e-324, -0.5, 0.1],
        "texts": ["\u0001", "\uffff", "\u2028\u2029\u0085", "\U0010ffff", "e\u0301 \u00e9", "\\u0000", " "],
        "": {"\u200b": None, "$": True},
    }
    content = "\u2028\t\r\n\x7f\U0001f600 \\u0000 ' OR 1=1; --"
    chat = await scene.client.chat(metadata=metadata, title="x" * 500, system=" ", model="demo/2x0ms")
    asked = await scene.client.ask(
        chat, content, metadata=metadata, params={"stop": ["\u2028"], "own": {"": metadata["texts"]}}
    )
    assert (await Reader().read(scene.client, asked["answer"])).done is not None
    history = await scene.client.history(chat, asked["cursor"])
    question, answer = history["messages"]
    assert question["content"] == [{"type": "text", "text": content}]
    assert history["metadata"] == question["metadata"] == metadata
    assert answer["params"] == {"stop": ["\u2028"], "own": {"": metadata["texts"]}}


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)


async def exchange(url: str, sent: bytes) -> httpx.Response:
    """The server's answer to these very bytes; it ends with the connection."""
    reader, writer = await connect(url)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            writer.write(sent)
            answer = await reader.read()
    finally:
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return httpx.Response(int(first.split()[1]), headers=headers, content=body)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (CHAT, {"if-none-match": b"\xff"}),
        (CHAT, {"if-none-match": '"' * 5000}),
        (CHAT, {"authorization": b"\xff\xfe"}),
        (CHAT, {"accept": b"\xff", "host": b"\xff", "cookie": "=;=;"}),
        (CHAT, {"x": "y" * 60_000}),
        (STREAM, {"last-event-id": ""}),
        (f"{CHATS}?unknown=1&limit=1&limit=2", {}),
        (f"{CHATS}?limit={'9' * 30}&before=c{'9' * 18}", {}),
        (f"{CHATS}?q=%00", {}),
        (f"{CHATS}?q=%FF%ED%A0%80", {}),
        (f"{CHATS}?q='%26%7C!:*(\\%25_", {}),
        (ANSWER, {"content-type": "nonsense"}),
    ],
    ids=ascii,
)
async def test_what_is_odd_but_harmless_is_served(
    scene: Scene, path: str, headers: dict[str, str | bytes]
) -> None:
    before = await scene.written()
    response = await scene.client.http.get(scene.filled(path), headers=encoded(headers))
    assert response.status_code == 200, response.text
    assert await scene.written() == before
    assert "Traceback" not in scene.system.apis[0].log()
