"""Titles by a model, and from the first words where the model fails."""

import asyncio
from pathlib import Path

from tests.support.provider_scripts import Script, openai, status
from tests.support.reader import Reader
from tests.support.scripted_provider import Request, ScriptedProvider
from tests.support.servers import NatsProcess
from tests.support.system import Client, System

CONFIG = '[providers.p]\nkind = "openai"\nbase_url = "{url}"\nmodels = ["m"]\n'
QUESTION = "why is the sea salt"


def reply(request: Request) -> Script:
    """A title for who asks for one, unless the conversation is about something that breaks the model."""
    said = str(request.json["messages"])
    if "Write a title" not in said:
        return openai("An answer.")
    return status(400, "no titles today") if "broken" in said else openai('"Salt of ', 'the Sea"\n')


async def test_a_model_gives_the_title_and_the_first_words_do_where_it_fails(
    database: str, data_directory: Path
) -> None:
    async with ScriptedProvider(reply) as provider, NatsProcess(data_directory) as nats:
        config = data_directory / "titles.toml"
        config.write_text(CONFIG.format(url=provider.base_url))
        async with (
            System(nats.url, database, data_directory, config=config) as system,
            system.client() as client,
        ):
            assert await title_of(client, QUESTION) == "Salt of the Sea"
            assert await title_of(client, f"broken: {QUESTION}") == f"broken: {QUESTION}"


async def title_of(client: Client, question: str) -> str:
    asked = await client.ask_new_chat("p/m", content=question)
    await Reader().read(client, asked["answer"])
    chat = asked["answer"].partition("_")[0]
    async with asyncio.timeout(30):
        while (found := (await client.http.get(f"/v1/chats/{chat}")).json().get("title")) is None:
            await asyncio.sleep(0.02)
    return str(found)
