"""Chats that leave one system and come to another: `unspool export` and `unspool import`."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.domain import subjects
from shared.domain.answer import fold
from shared.domain.events import AnswerFailed, GenerationStarted, decode_answer_event, decode_fact
from shared.domain.subjects import CHATS, AnswerId, ChatId, Sequence
from shared.log.append import append_fact
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support import examples
from tests.support.reader import Reader, at_index
from tests.support.servers import NatsProcess
from tests.support.system import Client, System
from tests.support.terminal import run

SYSTEM = "Be brief.\nBe kind."
QUESTION = "Why is the\n  sky blue? 空は?"


class Other:
    """Another system, with a log and a database of its own."""

    def __init__(self, system: System, log: EventLog, urls: dict[str, str]) -> None:
        self.system = system
        self.log = log
        self.urls = urls

    async def imports(self, exported: str, *options: str) -> tuple[int, str, str]:
        return await run("import", *options, typed=exported, variables=self.urls)

    async def history(self, chat: str) -> dict[str, Any]:
        newest = await self.log.last(subjects.facts(chat))
        assert newest is not None
        async with self.system.client() as client:
            return await client.history(chat, after=f"c{newest.sequence}")


@pytest.fixture
async def other(database: str, data_directory: Path) -> AsyncIterator[Other]:
    async with NatsProcess(data_directory) as nats:
        system = System(nats.url, database, data_directory, orphan_check_seconds=0.2, log_format="json")
        async with system:
            log = await EventLog.connect(Settings(nats_url=nats.url), "test")
            try:
                urls = {"UNSPOOL_NATS_URL": nats.url, "UNSPOOL_POSTGRES_URL": database}
                yield Other(system, log, urls)
            finally:
                await log.close()


@pytest.fixture
async def here(nats_url: str) -> AsyncIterator[EventLog]:
    log = await EventLog.connect(Settings(nats_url=nats_url), "test")
    yield log
    await log.close()


async def read(client: Client, answer: str) -> str:
    reader = await Reader().read(client, answer)
    assert reader.done is not None
    return str(reader.done["cursor"])


async def lived_in(client: Client) -> tuple[str, str]:
    """A chat with all that there can be in one; and its answer that is still being made."""
    chat = await client.chat(system=SYSTEM, metadata={"colour": "blue", "n": 7}, title="Of the sky")
    first = await client.ask(chat, QUESTION, model="demo/20x1ms", metadata={"from": "a test"})
    await read(client, first["answer"])
    again = await client.http.post(f"/v1/answers/{first['answer']}/regenerate", json={})
    await read(client, again.json()["answer"])
    second = await client.ask(chat, "And at night?", model="demo/2000x20ms", parent_id=first["answer"])
    await Reader().read(client, second["answer"], until=at_index(3))
    await client.http.post(f"/v1/answers/{second['answer']}/cancel")
    await read(client, second["answer"])
    assert (await client.http.patch(f"/v1/chats/{chat}", json={"title": "Mine"})).status_code == 200
    running = await client.ask(chat, "Go on", model="demo/2000x50ms")
    await Reader().read(client, running["answer"], until=at_index(2))
    return chat, running["answer"]


def told(history: dict[str, Any]) -> dict[str, Any]:
    """A history without what an import cannot keep: places in the log, and times."""
    here = {"created_at", "updated_at", "ended_at", "cursor"}
    return {key: value for key, value in history.items() if key not in here} | {
        "messages": [
            {key: value for key, value in message.items() if key not in here}
            for message in history["messages"]
        ]
    }


def by_id(history: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {message["id"]: message for message in history["messages"]}


async def export(nats_url: str, chat: str, *options: str) -> str:
    status, out, errors = await run("export", chat, *options, variables={"UNSPOOL_NATS_URL": nats_url})
    assert (status, errors) == (0, "")
    return out


async def events(log: EventLog, answer: str) -> list[Any]:
    """The events of an answer, without the sequence that they name."""
    stored = await log.read(subjects.answer(AnswerId(answer)), Sequence(0))
    found = [json.loads(one.data) for one in stored]
    return [{key: value for key, value in one.items() if key != "request"} for one in found]


async def test_a_chat_comes_whole_to_another_system_and_nothing_is_generated_again(
    system: System, here: EventLog, nats_url: str, other: Other
) -> None:
    async with system.client() as client:
        chat, running = await lived_in(client)
        lines = await export(nats_url, chat)
        status, out, errors = await other.imports(lines)
        assert (status, errors) == (0, "")
        assert out.startswith(f"imported: chat {chat}, ")
        newest = await here.last(subjects.facts(chat))
        assert newest is not None
        before = told(await client.history(chat, after=f"c{newest.sequence}"))
        after = told(await other.history(chat))
        made, imported = by_id(before), by_id(after)
        assert made.pop(running)["status"] == "generating"
        cut_off = imported.pop(running)
        assert (cut_off["status"], cut_off["error"]["code"]) == ("failed", "imported")
        assert imported == made
        assert {**after, "messages": 0, "generating": 0} == {**before, "messages": 0, "generating": 0}
        for answer in (id_ for id_ in made if subjects.is_answer_id(id_)):
            assert await events(other.log, answer) == await events(here, answer)
        await client.http.post(f"/v1/answers/{running}/cancel")
        await read(client, running)
    await nothing_was_generated(other, chat)
    assert (await run("verify", variables=other.urls))[0] == 0


async def nothing_was_generated(other: Other, chat: str) -> None:
    """Of all that generators logged of the chat, only that they left its requests alone."""
    async with asyncio.timeout(30):
        while await other.log.ack_floor(subjects.GENERATORS) < (await other.log.position(CHATS)).last:
            await asyncio.sleep(0.05)
    logged = [json.loads(line) for line in other.system.generators[0].log().splitlines() if chat in line]
    assert {line.get("plan") for line in logged if line["event"] == "planned"} <= {"Settled"}
    assert {line["event"] for line in logged} <= {"planned"}


async def test_an_imported_chat_is_gone_on_with(system: System, nats_url: str, other: Other) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/5x1ms", content="One?")
        await read(client, asked["answer"])
    chat = asked["answer"].partition("_")[0]
    assert (await other.imports(await export(nats_url, chat)))[0] == 0
    async with other.system.client() as client:
        again = await client.ask(chat, "Two?", model="demo/5x1ms")
        await read(client, again["answer"])
    facts = [
        (s.sequence, decode_fact(s.data)) for s in await other.log.read(subjects.facts(chat), Sequence(0))
    ]
    sequences = [sequence for sequence, _ in facts]
    asked_now = next(fact for _, fact in facts if fact.id == again["message"])
    assert asked_now.parent == asked["answer"]  # type: ignore[union-attr]
    assert asked_now.context == tuple(sequences[1:3])  # type: ignore[union-attr]


async def test_with_new_ids_it_comes_beside_the_one_that_is_there(
    system: System, here: EventLog, nats_url: str
) -> None:
    """While generators are at work on the same log, and again and again."""
    urls = {"UNSPOOL_NATS_URL": nats_url}
    async with system.client() as client:
        chat, running = await lived_in(client)
        lines = await export(nats_url, chat)
        status, out, errors = await run("import", typed=lines, variables=urls)
        assert (status, out, errors.count("\n")) == (1, "", 1)
        assert f"The chat {chat} exists or existed here" in errors
        results = await asyncio.gather(
            *(run("import", "--new-id", typed=lines, variables=urls) for _ in range(3))
        )
        copies = [out.split()[2].rstrip(",") for _, out, _ in results]
        assert [status for status, _, _ in results] == [0, 0, 0]
        newest = await here.last(subjects.facts(copies[-1]))
        assert newest is not None
        for copy in copies:
            position = (await here.position(CHATS)).last
            text = json.dumps(told(await client.history(copy, after=f"c{position}")))
            assert chat not in text
            original = told(await client.history(chat, after=f"c{position}"))
            original["messages"] = [m for m in original["messages"] if m["id"] != running]
            renamed = json.loads(text.replace(copy, chat))
            renamed["messages"] = [m for m in renamed["messages"] if m["id"] != running]
            assert renamed == original | {"generating": False}
            ends = [decode_fact(s.data) for s in await here.read(subjects.facts(copy), Sequence(0))]
            failed = [fact for fact in ends if isinstance(fact, AnswerFailed)]
            assert [fact.error.code for fact in failed] == ["imported"]
        await client.http.post(f"/v1/answers/{running}/cancel")
        await read(client, running)


async def test_redacted_it_says_nothing_and_keeps_its_shape(
    system: System, nats_url: str, other: Other
) -> None:
    async with system.client() as client:
        chat, running = await lived_in(client)
        await client.http.post(f"/v1/answers/{running}/cancel")
        cursor = await read(client, running)
        before = by_id(await client.history(chat, after=cursor))
    plain, lines = await export(nats_url, chat), await export(nats_url, chat, "--redact")
    assert plain.count("\n") == lines.count("\n")
    for said in ("sky", "空", "night", "brief", "blue", "Mine", "a test"):
        assert said in plain
        assert said not in lines
    assert (await other.imports(lines))[0] == 0
    after = by_id(await other.history(chat))
    assert list(after) == list(before)
    for id_, message in before.items():
        if message["role"] == "user":
            lengths = [[len(part["text"]) for part in m["content"]] for m in (message, after[id_])]
        else:
            lengths = [[len(m["text"]), *map(len, m["text"].split())] for m in (message, after[id_])]
            assert after[id_]["usage"] == message["usage"]
        assert lengths[0] == lengths[1]
    assert (await run("verify", "--chat", chat, variables=other.urls))[0] == 0


async def test_expired_tokens_are_not_missed(
    system: System, here: EventLog, nats_url: str, other: Other
) -> None:
    async with system.client() as client:
        expired = await client.ask_new_chat("demo/50x2ms")
        await read(client, expired["answer"])
        chat = expired["answer"].partition("_")[0]
        beheaded = await client.ask(chat, "And?", model="demo/50x2ms")
        await read(client, beheaded["answer"])
    await here.purge(subjects.answer(AnswerId(expired["answer"])))
    tokens = subjects.answer(AnswerId(beheaded["answer"]))
    await here.purge(tokens, before=(await here.read(tokens, Sequence(0)))[2].sequence)
    status, _, errors = await other.imports(await export(nats_url, chat))
    assert status == 0
    assert errors == f"unspool import: {beheaded['answer']}: skipped its token events, which are incomplete\n"
    messages = by_id(await other.history(chat))
    assert messages[expired["answer"]]["status"] == messages[beheaded["answer"]]["status"] == "completed"
    assert await events(other.log, beheaded["answer"]) == []


# --- an import that dies -------------------------------------------------------------------------------


async def test_an_import_that_died_in_the_middle_leaves_nothing_generating_but_a_living_one_is_left_alone(
    other: Other,
) -> None:
    chat = ChatId(str(uuid4()))
    log, asked_about = other.log, asyncio.Event()
    answer = subjects.answer_id(chat, examples.local(1))
    message = subjects.message_id(chat, examples.local(1))
    request = examples.message_requested(
        1, chat=chat, id=message, message=message, answer=answer, imported=True
    )
    importer = await EventLog.connect(Settings(nats_url=other.urls["UNSPOOL_NATS_URL"]), "importer")
    times: list[str] = []

    def yes(question: str) -> str:
        times.append(question)
        if len(times) > 2:
            asked_about.set()
        return "yes"

    await importer.listen(subjects.importer(chat), yes)
    first = await append_fact(log, examples.chat_created(chat=chat), Sequence(0), 5)
    sequence = await append_fact(log, request, first, 5)
    await asyncio.wait_for(asked_about.wait(), 60)
    newest = await log.last(subjects.facts(chat))
    assert newest is not None
    assert newest.sequence == sequence
    await importer.close()
    async with other.system.client() as client:
        reader = await asyncio.wait_for(Reader().read(client, answer), 60)
    assert reader.done is not None
    assert (reader.done["status"], reader.done["error"]["code"]) == ("failed", "imported")
    stored = await log.read(subjects.answer(answer), Sequence(0))
    state = fold((decode_answer_event(one.data), one.sequence) for one in stored)
    assert state.ended is not None
    assert isinstance(decode_answer_event(stored[0].data), GenerationStarted)


# --- what cannot be moved -------------------------------------------------------------------------------


async def test_a_broken_export_is_one_line_and_nothing_is_appended(
    system: System, here: EventLog, nats_url: str
) -> None:
    async with system.client() as client:
        chat = await client.chat()
    copy = str(uuid4())
    lines = (await export(nats_url, chat)).replace(chat, copy) + "nonsense\n"
    status, out, errors = await run("import", typed=lines, variables={"UNSPOOL_NATS_URL": nats_url})
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("unspool: line 2 of the export: JSON is malformed")
    assert await here.last(subjects.facts(copy)) is None


async def test_a_deleted_chat_and_one_that_never_was_cannot_be_exported(
    system: System, nats_url: str
) -> None:
    async with system.client() as client:
        chat = await client.chat()
        assert (await client.http.delete(f"/v1/chats/{chat}")).status_code == 204
    for id_ in (chat, str(uuid4()), "nonsense"):
        status, out, errors = await run("export", id_, variables={"UNSPOOL_NATS_URL": nats_url})
        assert (status, out, errors) == (1, "", f"unspool: There is no chat '{id_}'.\n")
