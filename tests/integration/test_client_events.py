"""The client's feed of what happens to one's chats: exactly the missing events, whatever becomes of the servers."""

import asyncio
import contextlib
import json
from pathlib import Path

import pytest
from unspool_client import ChatEvent, Client, ContractBroken, Reload, Unreachable

from tests.support.misbehaving_server import SOON, Misbehaving, client_of, respond, stream, then_silent
from tests.support.servers import NatsProcess
from tests.support.streams import KEEP_ALIVE, RETRY_AT_ONCE
from tests.support.system import System

PATIENCE_SECONDS = 60.0
PAGE: dict[str, object] = {"data": [], "next": None, "cursor": "c7"}


def event(name: str, number: int | None, **data: object) -> bytes:
    id_ = "" if number is None else f"id: c{number}\n"
    return f"{id_}event: {name}\ndata: {json.dumps({'chat': 'a'} | data)}\n\n".encode()


async def read(client: Client, count: int, after: str | None = None) -> list[ChatEvent | Reload]:
    found: list[ChatEvent | Reload] = []
    async with contextlib.aclosing(client.events(after)) as events:
        async for one in events:
            found.append(one)
            if len(found) == count:
                break
    return found


async def test_from_now_means_from_the_lists_cursor_so_that_no_break_loses_an_event() -> None:
    acts = (respond(200, PAGE), stream(RETRY_AT_ONCE), stream(event("chat-created", 8, title="A")))
    async with Misbehaving(*acts) as server, client_of(server) as client:
        assert await read(client, 1) == [ChatEvent("chat-created", "a", "c8", {"chat": "a", "title": "A"})]
        assert server.cursors == [None, "c7", "c7"]


async def test_after_a_break_it_goes_on_from_the_last_event_that_had_an_id() -> None:
    one = stream(
        RETRY_AT_ONCE, event("chat-renamed", 8), KEEP_ALIVE, event("answer-started", None), ends=True
    )
    two = stream(event("chat-archived", 9)[:-1])
    three = stream(event("chat-archived", 9), event("later-event", 10))
    async with Misbehaving(one, two, three) as server, client_of(server) as client:
        found = await read(client, 4, "c5")
        assert [(one.name, one.id) for one in found if isinstance(one, ChatEvent)] == [
            ("chat-renamed", "c8"),
            ("answer-started", None),
            ("chat-archived", "c9"),
            ("later-event", "c10"),
        ]
        assert server.cursors == ["c5", "c8", "c8"]


async def test_a_cursor_that_is_too_old_is_told_and_the_feed_goes_on() -> None:
    reload = b"id: c40\nevent: reload\ndata: {}\n\n"
    async with Misbehaving(stream(reload, event("chat-renamed", 41))) as server, client_of(server) as client:
        found = await read(client, 2, "c1")
        assert found == [Reload("c40"), ChatEvent("chat-renamed", "a", "c41", {"chat": "a"})]


async def test_what_is_no_feed_is_given_up_and_a_silent_one_within_its_bound() -> None:
    broken = [stream(b"event: chat-renamed\ndata: [1]\n\n") for _ in range(SOON.breaches_max + 1)]
    async with Misbehaving(*broken) as server, client_of(server) as client:
        with pytest.raises(ContractBroken):
            await read(client, 1, "c1")
    async with Misbehaving(stream()) as server, client_of(server) as client:
        with pytest.raises(Unreachable):
            async for _ in client.events("c1", give_up_after_seconds=0.0):
                pass
    async with Misbehaving() as server, client_of(server) as client:
        with pytest.raises(ValueError, match="not a cursor"):
            await read(client, 1, "c1\n")


async def test_leaving_early_closes_the_connection() -> None:
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await then_silent(event("chat-renamed", 8))(reader, writer)
        closed.set()

    async with Misbehaving(silent) as server, client_of(server) as client:
        await read(client, 1, "c7")
        async with asyncio.timeout(PATIENCE_SECONDS):
            await closed.wait()


async def test_over_the_death_of_an_api_each_event_comes_once_and_in_order(
    nats: NatsProcess, database: str, data_directory: Path
) -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        System(nats.url, database, data_directory, apis=2) as system,
        Client(system.urls) as client,
        Client(system.urls[1]) as other,
    ):
        chat = await client.create_chat(title="0")
        titles = [str(number) for number in range(1, 21)]
        reached = asyncio.Event()

        async def watch() -> list[str]:
            seen: list[str] = []
            async with contextlib.aclosing(client.events(chat.cursor, chat=chat.id)) as events:
                async for one in events:
                    assert isinstance(one, ChatEvent)
                    assert one.name == "chat-renamed"
                    seen.append(one.data["title"])
                    reached.set()
                    if seen[-1] == titles[-1]:
                        break
            return seen

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            for number, title in enumerate(titles):
                await other.change_chat(chat.id, title=title)
                if number == 0:
                    await reached.wait()
                    await system.apis[0].kill()
        assert watching.result() == titles
