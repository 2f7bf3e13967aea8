"""`unspool replay` as a person runs it, straight from a real JetStream."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from unspool_client import Client

from infra.inspect.chat_log import ChatLog
from infra.inspect.entries import Entry
from infra.inspect.replay_lines import EXPIRED
from shared.domain import subjects
from shared.domain.events import AnswerCompleted, GenerationEnded, TokenEmitted, encode, name_of
from shared.domain.subjects import ChatId, Sequence
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support import examples
from tests.support.servers import NatsProcess
from tests.support.system import System, free_port
from tests.support.terminal import CTRL_C, Terminal, ask, run


@asynccontextmanager
async def log_at(url: str) -> AsyncIterator[EventLog]:
    log = await EventLog.connect(Settings(nats_url=url), "test")
    try:
        yield log
    finally:
        await log.close()


def where(url: str) -> dict[str, str]:
    return {"UNSPOOL_NATS_URL": url}


async def test_a_replay_has_every_event_in_order(system: System, nats_url: str) -> None:
    chat, done, text = await ask(system, "What outlives a process?", "demo/20x5ms")
    status, out, errors = await run("replay", chat, "--json", variables=where(nats_url))
    assert (status, errors) == (0, "")
    lines = [json.loads(line) for line in out.splitlines()]
    names = [
        line["event"]["type"].partition(".")[0]
        for line in lines
        if line["event"]["type"] != "title-generated.v1"
    ]
    assert names[:3] == ["chat-created", "message-requested", "generation-started"]
    assert names[-2:] == ["generation-ended", "answer-completed"]
    assert set(names[3:-2]) == {"token-emitted"}
    assert "".join(line["event"].get("text", "") for line in lines if line["stream"] == "TOKENS") == text
    assert f"c{lines[names.index('answer-completed')]['sequence']}" == done.cursor


async def test_a_replay_for_a_person_tells_the_text_as_it_streamed(system: System, nats_url: str) -> None:
    chat, _, text = await ask(system, "What outlives a process?", "demo/60x1ms")
    for options in ((), ("--speed", "1000")):
        status, out, _ = await run("replay", chat, *options, variables=where(nats_url))
        assert status == 0
        assert "        │ What outlives a process?\n" in out
        assert all(f"        │ {line}\n" in out for line in text.split("\n"))
        assert EXPIRED not in out
    _, out, _ = await run("replay", chat, "--tokens", variables=where(nats_url))
    said = re.findall(r"token-emitted +\w{8}  1\.\d+ +(\".*\")\n", out)
    assert "".join(map(json.loads, said)) == text


async def test_expired_tokens_are_made_up_for_by_the_end(system: System, nats_url: str) -> None:
    chat, _, text = await ask(system, "What expires?", "demo/20x1ms")
    async with log_at(nats_url) as log:
        await log.purge(subjects.answers(chat))
    status, out, _ = await run("replay", chat, variables=where(nats_url))
    assert status == 0
    assert f"        {EXPIRED}\n        │ {text}\n" in out


async def test_an_answer_id_will_do_for_its_chat(system: System, nats_url: str) -> None:
    chat, _, _ = await ask(system, "Which one?", "demo/2x1ms")
    one = await run("replay", chat, "--json", variables=where(nats_url))
    other = await run(
        "replay", subjects.answer_id(ChatId(chat), str(uuid4())), "--json", variables=where(nats_url)
    )
    assert other[1].startswith(one[1])  # its title may have come meanwhile


@pytest.mark.parametrize("chat", ["00000000-0000-4000-8000-00000000dead", "*", ">", "no id"])
async def test_an_unknown_chat_is_one_line(system: System, nats_url: str, chat: str) -> None:
    status, out, errors = await run("replay", chat, variables=where(nats_url))
    assert (status, out) == (1, "")
    assert errors == f"unspool: There is no chat '{chat}'.\n"


async def test_a_log_that_is_away_is_one_line() -> None:
    status, out, errors = await run(
        "replay",
        str(uuid4()),
        variables=where(f"nats://127.0.0.1:{free_port()}") | {"UNSPOOL_LOG_CONNECT_SECONDS": "0.5"},
    )
    assert (status, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("unspool: no NATS at")


async def test_what_cannot_be_decoded_is_shown_and_the_nats_of_up_is_found(data_directory: Path) -> None:
    async with NatsProcess(data_directory) as nats, log_at(nats.url) as log:
        await log.ensure()
        created = examples.chat_created()
        scope = subjects.facts(created.chat)
        first = await log.publish(
            subjects.fact(created.chat, name_of(created)), encode(created), expected=Sequence(0), scope=scope
        )
        odd = subjects.fact(created.chat, "chat-renamed")
        await log.publish(odd, b"\xff\x1b[2J no json", expected=first, scope=scope)
        status, out, errors = await run("replay", created.chat, "--data", str(data_directory))
    assert (status, errors) == (0, "")
    assert "undecodable" in out
    assert r"b'\xff\x1b[2J no json'" in out
    assert "\x1b" not in out


async def test_following_goes_on_with_what_comes_until_ctrl_c(system: System, nats_url: str) -> None:
    async with Client(system.urls) as client:
        chat = await client.create_chat()
        async with Terminal("replay", chat.id, "--follow", variables=where(nats_url)) as terminal:
            await terminal.until("chat-created")
            await client.post(chat.id, "What comes?", model="demo/50x5ms")
            await terminal.until("message-requested")
            await terminal.until("generation-started")
            await terminal.until("50.")
            await terminal.until("generation-ended")
            await terminal.until("answer-completed")
            await client.delete_chat(chat.id)
            await terminal.until("chat-deleted")
            terminal.type(CTRL_C)
            assert await terminal.status() == 0
        assert EXPIRED not in terminal.seen.text


async def test_between_history_and_following_nothing_is_lost_or_doubled(
    system: System, nats_url: str
) -> None:
    async with Client(system.urls) as client, log_at(nats_url) as log:
        chat = await client.create_chat()
        asked = await client.post(chat.id, "What comes?", model="demo/300x5ms")
        async for event in client.stream(asked.answer):
            if getattr(event, "index", 0) >= 50:
                break  # in the middle of an answer
        chat_log = ChatLog(log, Settings(nats_url=nats_url), ChatId(chat.id))
        shown = [entry async for entry in chat_log.history()]

        async def show(entry: Entry) -> None:
            shown.append(entry)
            if isinstance(entry.event, AnswerCompleted):
                raise EnoughError

        with pytest.raises(ExceptionGroup) as raised:
            await chat_log.follow(show)
        assert raised.group_contains(EnoughError)
    indexes = [entry.event.index for entry in shown if isinstance(entry.event, TokenEmitted)]
    end = shown[-1].event
    assert isinstance(end, AnswerCompleted)
    assert indexes == list(range(1, end.last_index + 1))
    assert isinstance(shown[-2].event, GenerationEnded)


class EnoughError(Exception):
    pass
