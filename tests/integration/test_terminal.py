"""`unspool chat` as a person runs it: real processes, at a real terminal or in a pipe."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from unspool_client import Client

from infra.terminal.answer_view import BEGUN_ANEW, RECONNECTING
from infra.terminal.history import ChatHistory
from tests.support.servers import NatsProcess
from tests.support.system import System
from tests.support.terminal import CTRL_C, CTRL_D, ENTER, ESCAPE, PROMPT, Terminal, ask, run

ARROW_UP = "\x1b[A"
HELLO = "help lists all commands"


def at(system: System) -> list[str]:
    return [part for url in system.urls for part in ("--url", url)]


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

        async def type_line(command: str) -> str:
            terminal.type(command + ENTER)
            return await terminal.until(PROMPT)

        await terminal.until(PROMPT)
        assert "/regenerate" in await type_line("/help")
        assert "demo/200x20ms" in await type_line("/models")
        assert title in await type_line("/chats")
        assert "No chat has the number 99" in await type_line("/open 99")
        assert "Unknown command /sing" in await type_line("/sing")
        assert "no answer yet" in await type_line("/regenerate")
        opened = await type_line(f"/open {chat}")
        assert "An old question?" in opened
        assert text in opened
        assert "starts a new chat" in await type_line("/new")
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


async def test_what_was_typed_in_an_earlier_run_is_at_the_arrow_keys(system: System, tmp_path: Path) -> None:
    history = ChatHistory(tmp_path / "unspool" / "chat-history")
    history.append_string("/help")
    variables = {"UNSPOOL_NO_HISTORY": "", "XDG_STATE_HOME": str(tmp_path)}
    async with Terminal("chat", *at(system), variables=variables) as terminal:
        await terminal.until(PROMPT)
        terminal.type(ARROW_UP)
        await terminal.until("/help")
        terminal.type(ENTER)
        await terminal.until("/regenerate")
        await terminal.until(PROMPT)
        terminal.type(f"/quit{ENTER}")
        assert await terminal.status() == 0
    assert list(history.load_history_strings())[:2] == ["/quit", "/help"]
