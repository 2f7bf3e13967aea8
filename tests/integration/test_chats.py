"""Chats over HTTP: the tree, cancel, delete, titles, lists and search."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from shared.domain import subjects
from shared.domain.events import ChatDeleted, encode
from shared.log.append import append_fact
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support import examples
from tests.support.reader import Reader, at_index
from tests.support.system import Client, System


def chat_of(asked: dict[str, str]) -> str:
    return asked["answer"].partition("_")[0]


async def wait_for_end(client: Client, asked: dict[str, str]) -> Reader:
    reader = await Reader().read(client, asked["answer"])
    assert reader.done is not None
    return reader


async def test_edits_and_regenerated_answers_are_siblings_and_each_branch_has_its_own_context(
    system: System,
) -> None:
    async with system.client() as client:
        chat = await client.chat(model="demo/30x1ms")
        first = await client.ask(chat, "alpha question")
        await wait_for_end(client, first)
        edited = await client.ask(chat, "beta question", parent_id=None)
        await wait_for_end(client, edited)
        again = await client.http.post(f"/v1/answers/{first['answer']}/regenerate", json={})
        assert again.status_code == 202
        on_first = await client.ask(chat, "more", parent_id=first["answer"])
        reader = await wait_for_end(client, on_first)
        await wait_for_end(client, again.json())
        assert reader.done is not None
        history = await client.history(chat, after=reader.done["cursor"])
    nodes = {node["id"]: node for node in history["messages"]}
    assert nodes[first["message"]]["parent_id"] is nodes[edited["message"]]["parent_id"] is None
    assert nodes[again.json()["answer"]]["parent_id"] == first["message"]
    assert nodes[on_first["message"]]["parent_id"] == first["answer"]
    assert len(nodes) == 7


async def test_two_messages_at_once_on_two_replicas_one_wins(system: System) -> None:
    async with system.client(0) as one, system.client(1) as two:
        for _ in range(5):
            chat = await one.chat(model="demo/50x5ms")
            url = f"/v1/chats/{chat}/messages"
            calls = [client.http.post(url, json={"content": "me first"}) for client in (one, two, one, two)]
            statuses = sorted(response.status_code for response in await asyncio.gather(*calls))
            assert statuses == [202, 409, 409, 409]


async def test_cancel_keeps_the_text_so_far_and_ends_the_stream(system: System) -> None:
    async with system.client(0) as one, system.client(1) as two:
        asked = await one.ask_new_chat("demo/2000x20ms")
        reader = await Reader().read(one, asked["answer"], until=at_index(5))
        assert (await two.http.post(f"/v1/answers/{asked['answer']}/cancel")).status_code in {200, 202}
        await reader.read(one, asked["answer"])
        assert reader.done is not None
        assert reader.done["status"] == "cancelled"
        again = await two.http.post(f"/v1/answers/{asked['answer']}/cancel")
        assert again.status_code == 200
        assert again.json()["text"] == reader.text


async def test_delete_stops_a_running_answer_and_nothing_comes_back(system: System, nats_url: str) -> None:
    async with system.client(0) as one, system.client(1) as two:
        asked = await one.ask_new_chat("demo/2000x5ms")
        chat = chat_of(asked)
        await Reader().read(one, asked["answer"], until=at_index(5))
        assert (await one.http.delete(f"/v1/chats/{chat}")).status_code == 204
        assert (await one.http.delete(f"/v1/chats/{chat}")).status_code == 204
        for path in (f"/v1/chats/{chat}", asked["stream"], f"/v1/answers/{asked['answer']}"):
            assert (await one.http.get(path)).status_code == 404
        assert chat not in [row["id"] for row in (await one.http.get("/v1/chats")).json()["data"]]
        async with asyncio.timeout(30):
            while (await two.http.get(asked["stream"])).status_code != 404:
                continue
        assert (await two.http.post("/v1/chats", json={"id": chat})).status_code == 409
        assert (await two.http.post(f"/v1/chats/{chat}/messages", json={"content": "x"})).status_code == 404
        await worker_let_go(system, asked["answer"])
    log = await EventLog.connect(Settings(nats_url=nats_url), "test")
    try:
        left = await log.read(subjects.facts(chat), subjects.Sequence(0))
        assert [one.subject.rpartition(".")[2] for one in left] == ["chat-deleted"]
        assert await log.last(subjects.answers(chat)) is None
    finally:
        await log.close()


async def test_what_a_late_worker_writes_for_a_deleted_chat_is_purged_too(
    system: System, nats_url: str
) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/3x1ms")
        await wait_for_end(client, asked)
        assert (await client.http.delete(f"/v1/chats/{chat_of(asked)}")).status_code == 204
    log = await EventLog.connect(Settings(nats_url=nats_url), "test")
    try:
        subject = subjects.answer(subjects.AnswerId(asked["answer"]))
        async with asyncio.timeout(30):
            for index in range(1, 4):
                late = encode(examples.token(index))
                await log.publish(subject, late, expected=subjects.Sequence(0), scope=subject)
                while await log.last(subject) is not None:
                    await asyncio.sleep(0.02)
    finally:
        await log.close()


async def worker_let_go(system: System, answer: str) -> None:
    """Until a generator has said that it knows of the deletion."""
    async with asyncio.timeout(30):
        while not any("chat-gone" in line and answer in line for line in _log_lines(system)):
            await asyncio.sleep(0.05)


def _log_lines(system: System) -> list[str]:
    return [line for generator in system.generators for line in generator.log().splitlines()]


async def test_a_chat_gets_a_title_after_its_first_answer_once_and_an_own_one_stays(system: System) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat(
            "demo/3x1ms", content="how do tides work at the north pole in winter time"
        )
        titled = await chat_when(client, chat_of(asked), lambda chat: chat["title"] is not None)
        assert titled["title"] == "how do tides work at the north pole…"
        own = await client.chat(title="Mine")
        await wait_for_end(client, await client.ask(own, "something else", model="demo/3x1ms"))
        renamed = await client.ask_new_chat("demo/3x1ms", content="the third")
        await client.http.patch(f"/v1/chats/{chat_of(renamed)}", json={"title": "Named by me"})
        reader = await wait_for_end(client, await client.ask_new_chat("demo/3x1ms", content="the last one"))
        assert reader.done is not None
        for chat, title in ((own, "Mine"), (chat_of(renamed), "Named by me")):
            assert (await client.history(chat, after=reader.done["cursor"]))["title"] == title


async def chat_when(client: Client, chat: str, wanted: Any) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            found: dict[str, Any] = (await client.http.get(f"/v1/chats/{chat}")).json()
            if wanted(found):
                return found
            await asyncio.sleep(0.02)


async def test_changes_are_read_back_and_lists_are_paged_newest_activity_first(system: System) -> None:
    mark = uuid4().hex
    async with system.client() as client:
        chats = [await client.chat(title=f"{mark} {number}") for number in range(5)]
        patched = await client.http.patch(
            f"/v1/chats/{chats[0]}", json={"archived": True, "metadata": {"k": "v"}}
        )
        assert patched.status_code == 200
        assert patched.json()["metadata"] == {"k": "v"}
        cursor = patched.json()["cursor"]
        query: dict[str, Any] = {"q": mark, "limit": 3, "after": cursor}
        page = (await client.http.get("/v1/chats", params=query)).json()
        assert [row["id"] for row in page["data"]] == [chats[4], chats[3], chats[2]]
        rest = (await client.http.get("/v1/chats", params=query | {"before": page["next"]})).json()
        assert [row["id"] for row in rest["data"]] == [chats[1]]
        assert rest["next"] is None
        archived = (await client.http.get("/v1/chats", params=query | {"archived": True})).json()
        assert [row["id"] for row in archived["data"]] == [chats[0]]
        await client.http.patch(f"/v1/chats/{chats[0]}", json={"archived": False})


@pytest.mark.parametrize(
    ("content", "query"),
    [
        ("Why do lighthouses rotate quickly?", "lighth"),
        ("Why do lighthouses rotate slowly?", "slowly LIGHTHOUSES"),
        ("关于海洋潮汐的问题：潮汐是什么？", "潮汐"),
        ("潮水为什么每天来两次", "每天来"),
        ("日本の天気はどうですか", "天気"),
        ("100%_sure \\ of this", "100%_sure \\"),
    ],
)
async def test_search_finds_words_beginnings_and_texts_without_spaces(
    system: System, content: str, query: str
) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/1x1ms", content=content)
        params = {"q": query, "after": asked["cursor"]}
        found = (await client.http.get("/v1/chats", params=params)).json()
        assert chat_of(asked) in [row["id"] for row in found["data"]]
        nothing = (await client.http.get("/v1/chats", params={"q": f"{query}zzz"})).json()
        assert nothing["data"] == []


async def test_history_shows_the_partial_text_of_a_running_answer_and_an_etag_for_it(system: System) -> None:
    async with system.client(0) as one, system.client(1) as two:
        asked = await one.ask_new_chat("demo/2000x20ms")
        reader = await Reader().read(one, asked["answer"], until=at_index(5))
        url, params = f"/v1/chats/{chat_of(asked)}", {"after": asked["cursor"]}
        running = await two.http.get(url, params=params)
        document = running.json()
        assert document["generating"] is True
        assert document["messages"][1]["status"] == "generating"
        assert document["messages"][1]["text"].startswith(reader.text) or reader.text.startswith(
            document["messages"][1]["text"]
        )
        listed = (await two.http.get("/v1/chats")).json()["data"]
        assert next(row for row in listed if row["id"] == chat_of(asked))["generating"] is True
        await one.http.post(f"/v1/answers/{asked['answer']}/cancel")
        await reader.read(one, asked["answer"])
        assert reader.done is not None
        params = {"after": reader.done["cursor"]}
        ended = await two.http.get(url, params=params)
        assert ended.headers["etag"] != running.headers["etag"]
        same = await two.http.get(url, headers={"if-none-match": ended.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")


async def test_the_same_id_again_gives_the_same_answer_and_other_content_is_a_conflict(
    system: System,
) -> None:
    async with system.client(0) as one, system.client(1) as two:
        chat, id_ = await one.chat(model="demo/3x1ms"), str(uuid4())
        body = {"id": id_, "content": "once"}
        url = f"/v1/chats/{chat}/messages"
        answers = [(await client.http.post(url, json=body)) for client in (one, two, one)]
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.text for answer in answers}) == 1
        assert (await two.http.post(url, json=body | {"content": "twice"})).status_code == 409
        keyed = [
            await client.http.post("/v1/chats", json={"title": "k"}, headers={"idempotency-key": id_})
            for client in (one, two)
        ]
        assert [response.status_code for response in keyed] == [201, 200]
        assert len({response.json()["id"] for response in keyed}) == 1


async def test_a_delete_that_died_before_its_purge_is_finished_by_the_projector(
    system: System, nats_url: str
) -> None:
    log = await EventLog.connect(Settings(nats_url=nats_url), "test")
    try:
        async with system.client() as client:
            asked = await client.ask_new_chat("demo/3x1ms")
            await wait_for_end(client, asked)
            chat = chat_of(asked)
            await chat_when(client, chat, lambda found: found["title"] is not None)
            newest = await log.last(subjects.facts(chat))
            assert newest is not None
            fact = ChatDeleted(chat=subjects.ChatId(chat), owner="local", id=f"{chat}.deleted")
            tombstone = await append_fact(log, fact, newest.sequence, 5)
            gone = await client.http.get("/v1/chats", params={"after": f"c{tombstone}"})
            assert chat not in gone.text
        left = await log.read(subjects.facts(chat), subjects.Sequence(0))
        assert [one.sequence for one in left] == [tombstone]
        assert await log.last(subjects.answers(chat)) is None
    finally:
        await log.close()
