"""`unspool chat` and `unspool replay` as a person runs them: real processes, at a real terminal or in a pipe."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from infra.terminal.chat_log import ChatLog
from infra.terminal.entries import Entry
from infra.terminal.replay_lines import EXPIRED
from infra.terminal.telling import BEGUN_ANEW, RECONNECTING
from shared import subjects
from shared.client import Client, Done, Transcript
from shared.events import AnswerCompleted, GenerationEnded, TokenEmitted, encode, name_of
from shared.log import EventLog
from shared.settings import Settings
from shared.subjects import ChatId, Sequence
from tests import examples
from tests.servers import NatsProcess
from tests.system import System, free_port
from tests.terminal import CTRL_C, CTRL_D, ENTER, ESCAPE, PROMPT, Terminal, run

HELLO = "help says what there is"


def at(system: System) -> list[str]:
    return [part for url in system.urls for part in ("--url", url)]


async def ask(system: System, content: str, model: str) -> tuple[str, Done, str]:
    """A chat of one question: its id, and how its answer ended and what it says."""
    async with Client(system.urls) as client:
        chat = await client.create_chat()
        transcript = Transcript()
        async for event in client.ask(chat.id, content, model=model):
            transcript.apply(event)
        assert transcript.done is not None
        return chat.id, transcript.done, transcript.text


# --- chat in a pipe --------------------------------------------------------------------------------------


async def test_each_line_of_a_pipe_is_a_message_and_its_answer_comes_whole(system: System) -> None:
    status, out, errors = await run(
        "chat", *at(system), "--model", "demo/45x0ms", typed="First?\n\n  /quit is no command here \nLast"
    )
    assert (status, errors) == (0, "")
    async with Client(system.urls) as client:
        newest = (await client.list_chats(limit=200)).data
        chats = [await client.chat(chat.id) for chat in newest if chat.model == "demo/45x0ms"]
    (branch,) = [chat.branch() for chat in chats]
    assert [message.said for message in branch[::2]] == ["First?", "/quit is no command here", "Last"]
    assert out == "".join(f"{message.said}\n" for message in branch[1::2])


async def test_a_pipe_can_go_on_with_a_chat(system: System) -> None:
    chat, _, _ = await ask(system, "First?", "demo/5x0ms")
    status, out, _ = await run("chat", chat, *at(system), "--model", "demo/3x0ms", typed="Second?\n")
    assert (status, out) == (0, "This is a\n")
    async with Client(system.urls) as client:
        assert len((await client.chat(chat)).branch()) == 4


async def test_an_empty_pipe_is_no_conversation(system: System) -> None:
    assert await run("chat", *at(system)) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--url", "http://127.0.0.1:9"), "unspool: http://127.0.0.1:9: cannot connect"),
        (("--url", "nonsense"), "unspool: 'nonsense' is not the URL of a server"),
    ],
)
async def test_a_server_that_cannot_be_reached_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    status, out, errors = await run("chat", *arguments, typed="Hello?\n")
    assert status != 0
    assert out == ""
    assert errors.startswith(said)
    assert errors.count("\n") == 1


async def test_a_chat_that_is_not_there_is_one_line(system: System) -> None:
    status, _, errors = await run("chat", str(uuid4()), *at(system), typed="Hello?\n")
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("unspool: Not found: There is no chat")


async def test_a_message_that_is_refused_is_said_and_the_next_one_is_sent(system: System) -> None:
    long = "x" * 200_001
    status, out, errors = await run("chat", *at(system), "--model", "demo/2x0ms", typed=f"{long}\nShort.\n")
    assert (status, out) == (1, "This is\n")
    assert "content" in errors
    assert errors.count("\n") == 1


# --- chat at a terminal ------------------------------------------------------------------------------------


async def test_a_conversation_at_a_terminal(system: System) -> None:
    async with Terminal("chat", *at(system), "--model", "demo/50x1ms") as terminal:
        await terminal.until(HELLO)
        await terminal.until(PROMPT)
        terminal.type("Hello there" + ENTER)
        await terminal.until("50.")
        await terminal.until(PROMPT)
        terminal.type("one" + ESCAPE + ENTER + "two" + ENTER)
        await terminal.until("“one two”")
        await terminal.until(PROMPT)
        terminal.type(f"/title Named by hand{ENTER}")
        await terminal.until(PROMPT)
        terminal.type(f"/regenerate demo/20x1ms{ENTER}")
        await terminal.until("For real")
        await terminal.until(PROMPT)
        terminal.type(CTRL_D)
        await terminal.until("unspool chat ")
        assert await terminal.status() == 0
    chat = terminal.seen.text.rpartition(" ")[2]
    async with Client(system.urls) as client:
        found = await client.chat(chat)
    branch = found.branch()
    assert found.title == "Named by hand"
    assert [message.said for message in branch[::2]] == ["Hello there", "one\ntwo"]
    assert branch[-1].model == "demo/20x1ms"
    assert len(found.messages or ()) == 5
    assert branch[1].text in terminal.seen.text.replace("\n\n", "\n")


async def test_the_commands(system: System) -> None:
    chat, _, text = await ask(system, "An old question?", "demo/5x1ms")
    async with Client(system.urls) as client:
        title = f"Named {uuid4()}"
        await client.change_chat(chat, title=title)
    async with Terminal("chat", *at(system)) as terminal:

        async def typed(command: str) -> str:
            terminal.type(command + ENTER)
            return await terminal.until(PROMPT)

        await terminal.until(PROMPT)
        assert "/regenerate" in await typed("/help")
        assert "demo/200x20ms" in await typed("/models")
        assert title in await typed("/chats")
        assert "There is no number 20" in await typed("/open 20")
        assert "There is no /sing" in await typed("/sing")
        assert "no answer yet" in await typed("/regenerate")
        opened = await typed(f"/open {chat}")
        assert "An old question?" in opened
        assert text in opened
        assert "A new chat" in await typed("/new")
        terminal.type(f"/quit{ENTER}")
        assert await terminal.status() == 0


async def test_ctrl_c_cancels_the_answer_and_the_conversation_goes_on(system: System) -> None:
    async with Terminal("chat", *at(system), "--model", "demo/5000x20ms") as terminal:
        await terminal.until(PROMPT)
        terminal.type("Go on and on." + ENTER)
        await terminal.until("50.")
        terminal.type(CTRL_C)
        await terminal.until("[cancelled]")
        await terminal.until(PROMPT)
        terminal.type("dropped" + CTRL_C)
        await terminal.until(PROMPT)
        terminal.type(f"/model demo/3x1ms{ENTER}")
        await terminal.until(PROMPT)
        terminal.type("Once more." + ENTER)
        await terminal.until(PROMPT)
        terminal.type(CTRL_D)
        assert await terminal.status() == 0
    chat = terminal.seen.text.rpartition(" ")[2]
    async with Client(system.urls) as client:
        branch = (await client.chat(chat)).branch()
    assert [message.said for message in branch[::2]] == ["Go on and on.", "Once more."]
    assert [message.status for message in branch[1::2]] == ["cancelled", "completed"]


async def test_an_answer_that_was_left_is_found_again_with_its_chat(system: System) -> None:
    async with Client(system.urls) as client:
        chat = await client.create_chat()
        asked = await client.post(chat.id, "Count.", model="demo/120x20ms")
        async with Terminal("chat", chat.id, *at(system)) as terminal:
            await terminal.until("120.")
            await terminal.until(PROMPT)
            terminal.type(CTRL_D)
            assert await terminal.status() == 0
        assert (await client.answer(asked.answer)).text in terminal.seen.text


# --- chat, and kill -9 of all that is under it ---------------------------------------------------------------


@pytest.fixture
async def fragile(data_directory: Path, database: str) -> AsyncIterator[System]:
    async with (
        NatsProcess(data_directory) as nats,
        System(nats.url, database, data_directory, client_retry_milliseconds=20) as made,
    ):
        yield made


async def test_kill_9_of_the_api_and_the_generator_is_a_pause_and_nothing_else(fragile: System) -> None:
    async with Terminal("chat", *at(fragile), "--model", "demo/200x10ms") as terminal:
        await terminal.until(PROMPT)
        terminal.type("What outlives a process?" + ENTER)
        await terminal.until("\n50.")
        await fragile.generators[0].kill()
        await fragile.apis[0].kill()
        await terminal.until(RECONNECTING)
        assert terminal.seen.text.endswith(RECONNECTING)
        await fragile.apis[0].start()
        await fragile.generators[0].start()
        await terminal.until("\n200.")
        await terminal.until(PROMPT)
        terminal.type(CTRL_D)
        assert await terminal.status() == 0
    chat = terminal.seen.text.rpartition(" ")[2]
    async with Client(fragile.urls) as client:
        answer = (await client.chat(chat)).branch()[-1]
    assert answer.status == "completed"
    assert answer.text in terminal.seen.text
    assert RECONNECTING not in terminal.seen.text
    assert BEGUN_ANEW not in terminal.seen.text


async def test_a_question_that_is_asked_while_the_api_is_away_is_asked_once(fragile: System) -> None:
    async with Terminal("chat", *at(fragile), "--model", "demo/3x1ms") as terminal:
        await terminal.until(PROMPT)
        await fragile.apis[0].kill()
        terminal.type("Is anybody there?" + ENTER)
        await terminal.until("waiting for the server")
        await fragile.apis[0].start()
        await terminal.until("This is a")
        await terminal.until(PROMPT)
        terminal.type(CTRL_D)
        assert await terminal.status() == 0
    async with Client(fragile.urls) as client:
        (chat,) = (await client.list_chats()).data
        assert [message.said for message in (await client.chat(chat.id)).branch()] == [
            "Is anybody there?",
            "This is a",
        ]


# --- replay --------------------------------------------------------------------------------------------------


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
