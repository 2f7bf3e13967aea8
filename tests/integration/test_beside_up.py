"""Commands beside a running `unspool up`: with nothing but its data directory, they find its servers."""

import asyncio
import json
from pathlib import Path

from tests.integration.test_up import READY, Up
from tests.support.reader import Reader
from tests.support.terminal import run


async def test_every_command_finds_the_servers_of_up(data_directory: Path) -> None:
    async with Up(data_directory) as up:
        await up.line(READY)
        async with up.client() as client:
            asked = await client.ask_new_chat("demo/5x1ms")
            reader = await Reader().read(client, asked["answer"])
            assert reader.done is not None
            chat = asked["answer"].partition("_")[0]
            await client.history(chat, after=reader.done["cursor"])

        async def out_of(*arguments: str, typed: str = "") -> str:
            status, out, errors = await run(*arguments, "--data", str(data_directory), typed=typed)
            assert status == 0, errors
            return out

        listed, as_json, state = await asyncio.gather(
            out_of("chats", "--limit", "1"), out_of("chats", "--json"), out_of("status", "--json")
        )
        assert chat in listed
        assert [each["id"] for each in json.loads(as_json)["data"]] == [chat]
        found = json.loads(state)
        assert found["healthy"]
        names = {process["name"] for process in found["processes"]}
        assert names == {"NATS", "Postgres", "API 1", "generator 1"}
        assert found["apis"][0]["url"] == up.url
        assert found["projector"]["position"] > 0
        assert found["queue"]["pending"] == 0
        assert await out_of("chat", "--model", "demo/2x0ms", typed="Where are you?\n") == "This is\n"

        assert "rebuilt the read model" in await out_of("rebuild")
        assert "event     chat-created.v1" in await out_of("inspect", "1")
        assert "No differences." in await out_of("verify")
        assert "answer-completed" in await out_of("replay", chat)
        assert "Where are you?" in await out_of("replay", "--last")
        exported = await out_of("export", chat, "--redact")
        imported = await out_of("import", "--new-id", typed=exported)
        copy = imported.split()[2].rstrip(",")
        assert "No differences." in await out_of("verify", "--chat", copy)
    status, _, errors = await run("inspect", "1", "--data", str(data_directory))
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("unspool: no NATS at")
    assert await run("status", "--data", str(data_directory)) == (
        1,
        f"Nothing runs on {data_directory}. Start it with: unspool up --data {data_directory}\n",
        "",
    )
    status, _, errors = await run("chats", "--data", str(data_directory))
    assert (status, errors.count("\n")) == (1, 1)
    assert errors.startswith("unspool: no `unspool up` runs on")
