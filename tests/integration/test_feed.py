"""The feed of facts: all of one's chats, with resume."""

import asyncio
import contextlib
import json
from typing import Any
from uuid import uuid4

from tests.support.reader import Reader
from tests.support.system import Client, System

Event = tuple[str, dict[str, Any], str | None]


async def read(client: Client, until: str, cursor: str | None = None, chat: str | None = None) -> list[Event]:
    """Events up to one whose data holds `until`."""
    events: list[Event] = []
    headers = {"last-event-id": cursor} if cursor else {}
    params = {"chat": chat} if chat else {}
    fields: dict[str, str] = {}
    async with client.http.stream("GET", "/v1/events", headers=headers, params=params) as response:
        assert response.status_code == 200
        async with contextlib.aclosing(response.aiter_lines()) as lines:  # type: ignore[type-var]
            async for line in lines:
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                    continue
                if "event" in fields:
                    events.append((fields["event"], json.loads(fields["data"]), fields.get("id")))
                    if until in fields["data"]:
                        return events
                fields = {}
    return events


async def test_another_device_sees_everything_that_happens_to_ones_chats_and_resumes(system: System) -> None:
    mark = f"stop {uuid4()}"
    async with system.client(0) as one, system.client(1) as two:
        cursor = (await two.http.get("/v1/chats")).json()["cursor"]
        watching = asyncio.create_task(read(two, mark, cursor))
        asked = await one.ask_new_chat("demo/5x1ms")
        chat = asked["answer"].partition("_")[0]
        reader = await Reader().read(one, asked["answer"])
        await one.http.patch(f"/v1/chats/{chat}", json={"title": mark})
        events = [event for event in await watching if event[1]["chat"] == chat]
        names = [name for name, _, _ in events]
        facts = [name for name in names if name not in {"answer-started", "title-generated"}]
        assert facts == ["chat-created", "message-requested", "answer-completed", "chat-renamed"]
        assert reader.done is not None
        done = next(data for name, data, _ in events if name == "answer-completed")
        assert done["status"] == "completed"
        assert "text" not in done

        every = [id_ for _, _, id_ in events if id_]
        for at, id_ in enumerate(
            every[:-1]
        ):  # from any of its events, on the other replica: exactly the rest
            again = await read(one, mark, id_)
            assert [other for _, data, other in again if other and data["chat"] == chat] == every[at + 1 :]


async def test_a_feed_of_one_chat_has_its_events_only_and_an_old_cursor_is_read_from_the_log(
    system: System, nats_url: str, postgres_url: str
) -> None:
    async with system.client() as client:
        mark = f"stop {uuid4()}"
        chat = await client.chat()
        await client.chat()
        await client.http.patch(f"/v1/chats/{chat}", json={"title": mark})
    # A process that holds nothing of it: what it has to give comes from the log.
    async with System(nats_url, postgres_url, system._directory, generators=0, feed_items_max=1) as late:
        await late_ready(late)
        async with late.client() as client:
            events = await read(client, mark, "c0", chat)
    assert [name for name, _, _ in events] == ["chat-created", "chat-renamed"]


async def late_ready(system: System) -> None:
    await system.wait_until_ready()


async def test_what_is_no_cursor_is_400_and_anothers_chat_404(system: System) -> None:
    async with system.client() as client:
        assert (await client.http.get("/v1/events", params={"after": "1.5"})).status_code == 400
        assert (await client.http.get("/v1/events", params={"chat": str(uuid4())})).status_code == 404
