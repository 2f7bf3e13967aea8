"""The API against its own document, by schemathesis: right and wrong requests that nobody here thought of."""

import asyncio
import contextlib
import copy
import json
import sys
from typing import Any

from infra.chaos.fleet import PostgresProcess
from services.api.app import make_app
from services.api.http.openapi import examples
from shared.settings import Settings
from tests.support.reader import Reader
from tests.support.servers import NatsProcess, new_database, temporary_data
from tests.support.system import ROOT, System


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """What a document does not name must not be in it: for clients it may come, for this test it was forgotten."""
    made = copy.deepcopy(document)
    for schema in made["components"]["schemas"].values():
        schema.setdefault("additionalProperties", False)
    del made["paths"]["/v1/events"]  # a stream without end
    return made


async def test_no_request_breaks_the_contract(postgres: PostgresProcess) -> None:
    """Also: no 500, what is wrong is refused, and every status and document is one that is described."""
    settings: dict[str, Any] = {"titles": False, "default_model": "demo/2x0ms", "read_after_seconds": 0.05}
    with temporary_data() as data:
        described = data / "openapi.json"
        described.write_text(json.dumps(strict(make_app(Settings()).openapi())))
        async with (
            NatsProcess(data) as nats,
            new_database(postgres) as database,
            System(nats.url, database, data, **settings) as system,
            system.client() as client,
        ):
            chat = await client.chat(**examples.CREATE_CHAT["own-id"]["value"])
            asked = await client.ask(chat, **examples.POST_MESSAGE["question"]["value"])
            assert (await Reader().read(client, asked["answer"])).done is not None
            status, output = await schemathesis("run", str(described), "--url", system.urls[0])
            assert status == 0, output
            assert "Traceback" not in system.apis[0].log()


async def schemathesis(*arguments: str) -> tuple[int | None, str]:
    command = (sys.executable, "-m", "schemathesis.cli", "--config-file", "tests/schemathesis.toml")
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):  # as a rule it has ended
            process.kill()
    return process.returncode, output.decode()
