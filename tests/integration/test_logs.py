"""No content and no key in any line of any log, whatever goes wrong; and every line can be placed."""

import asyncio
import contextlib
import json
from typing import Any

from tests.support.provider_scripts import Step, openai, openai_events, status, stream
from tests.support.reader import Reader, at_index
from tests.support.scripted_provider import ScriptedProvider
from tests.support.servers import NatsProcess, PostgresProcess, temporary_data
from tests.support.system import Client, System

CONTENT, KEY = "marker-of-content", "marker-of-key"
CONFIG = """
[providers.plain]
kind = "openai"
base_url = "{url}"
api_key_env = "MARKED_KEY"
models = ["m"]
[providers.listing]
kind = "openai"
base_url = "{url}"
api_key_env = "MARKED_KEY"
"""
PLACED = {"chat", "answer", "sequence", "attempt"}


async def _read(client: Client, asked: dict[str, str]) -> dict[str, Any]:
    reader = Reader()
    async with asyncio.timeout(60):
        while reader.done is None:
            await reader.read(client, asked["answer"])
    return reader.done


async def _wait_for_title(client: Client, asked: dict[str, str]) -> None:
    """Read to its end, and until its chat has a title: then the provider is asked for nothing more."""
    chat, cursor = asked["answer"].partition("_")[0], (await _read(client, asked))["cursor"]
    async with asyncio.timeout(60):
        while (await client.history(chat, after=cursor))["title"] is None:
            await asyncio.sleep(0.02)


async def _all_that_can_go_wrong(
    client: Client, provider: ScriptedProvider, system: System, nats: NatsProcess
) -> None:
    begun = openai_events(CONTENT, finish_reason=None, done=False)
    ask: dict[str, Any] = {"model": "plain/m", "content": CONTENT, "params": {"stop": [CONTENT]}}
    complaint = status(400, f"I do not like {CONTENT} nor {KEY}")
    provider.script(complaint)
    assert (await _read(client, await client.ask_new_chat(**ask)))["status"] == "failed"
    provider.script(openai("well"), complaint)  # the second is asked for the title
    await _wait_for_title(client, await client.ask_new_chat(**ask))
    provider.script(status(503, CONTENT), stream(*begun, Step.CUT), openai("well"))
    await _wait_for_title(client, await client.ask_new_chat(**ask))
    await client.http.post("/v1/chats", json={"title": CONTENT, "metadata": CONTENT})
    await client.http.get(f"/v1/chats/{CONTENT}")
    await client.http.post("/v1/chats", content=f'{{"title": "{CONTENT}'.encode())
    provider.script(stream(*begun, 60.0), openai("again"))
    asked = await client.ask_new_chat(**ask)
    await Reader().read(client, asked["answer"], until=at_index(1))
    await system.generators[0].kill()
    await nats.kill9()
    await nats.start()
    await system.generators[0].start()
    await _read(client, asked)


async def test_no_line_of_any_log_holds_content_or_keys_and_each_is_json_that_says_where_it_belongs() -> None:
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(temporary_data())
        provider = await stack.enter_async_context(ScriptedProvider())
        config = directory / "marked.toml"
        config.write_text(CONFIG.format(url=provider.base_url))
        nats = await stack.enter_async_context(NatsProcess(directory / "nats"))
        postgres = await stack.enter_async_context(PostgresProcess(directory / "postgres"))
        system = System(
            nats.url,
            postgres.url,
            directory,
            config=config,
            log_level="debug",
            metrics_key=KEY,
            provider_backoff_seconds=0.01,
        )
        system.generators[0] = system._process("services.generator", "marked", MARKED_KEY=KEY)
        async with system, system.client() as client:
            await _all_that_can_go_wrong(client, provider, system, nats)
            await postgres.kill9()
            await client.http.get("/v1/chats", params={"q": CONTENT})
            await postgres.start()
        assert CONTENT in str([one.json for one in provider.requests if one.method == "POST"])
        _check({process.name: process.log() for process in (*system.apis, *system.generators)})


def _check(logs: dict[str, str]) -> None:
    for name, text in logs.items():
        assert CONTENT not in text, name
        assert KEY not in text, name
        lines = [json.loads(line) for line in text.splitlines()]
        assert {"event", "level", "timestamp", "service"} <= set.intersection(*map(set, lines)), name
        for line in lines:
            if name == "marked" and "answer" in line:
                assert line.keys() >= PLACED, line
            if "answer" in line:
                assert line["answer"].startswith(line["chat"])
    events = {json.loads(line)["event"] for line in logs["marked"].splitlines()}
    assert {"planned", "ended", "interrupted", "provider-retry", "no-title-by-model", "titled"} <= events
