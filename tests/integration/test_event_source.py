"""The stream as a browser's `EventSource` reads it: the npm package `eventsource`, which keeps to the WHATWG standard."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.reader import Reader
from tests.support.system import System

PACKAGE = "eventsource@4.0.0"
SCRIPT = """
import { EventSource } from 'eventsource';
const seen = [];
const source = new EventSource(process.argv[2]);
source.addEventListener('token', e => {
  seen.push({id: e.lastEventId, text: JSON.parse(e.data).text});
  if (seen.length === 5) console.log('five');
});
source.addEventListener('done', e => seen.push({done: JSON.parse(e.data), id: e.lastEventId}));
source.addEventListener('error', e => {
  if (source.readyState === EventSource.CLOSED) {
    console.log(JSON.stringify({seen, code: e.code}));
    process.exit(0);
  }
  seen.push({reconnect: true});
});
"""


@pytest.fixture(scope="session")
def event_source(server_data: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("no Node.js here")
    directory = server_data / "event-source"
    directory.mkdir()
    installed = subprocess.run(
        [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), PACKAGE],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"npm cannot install {PACKAGE}: {installed.stderr[-200:]}")
    script = directory / "read.mjs"
    script.write_text(SCRIPT)
    return script


async def read(script: Path, url: str) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec("node", str(script), url, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    return process, process.stdout


async def last_line(process: asyncio.subprocess.Process, stdout: asyncio.StreamReader) -> dict[str, Any]:
    async with asyncio.timeout(60):
        lines = (await stdout.read()).decode().splitlines()
        await process.wait()
    found: dict[str, Any] = json.loads(lines[-1])
    return found


async def test_event_source_reads_to_the_end_and_stops_on_204(system: System, event_source: Path) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/30x5ms")
        result = await last_line(*await read(event_source, system.urls[0] + asked["stream"]))
        whole = await Reader().read(client, asked["answer"])
    seen = result["seen"]
    assert result["code"] == 204
    assert "".join(event.get("text", "") for event in seen) == whole.text
    assert seen[-2]["id"] == "1.end"
    assert seen[-1] == {"reconnect": True}  # the close after `done`; the next connect got 204


async def test_event_source_resumes_by_itself_when_its_api_dies(
    nats_url: str, postgres_url: str, server_data: Path, event_source: Path
) -> None:
    async with System(nats_url, postgres_url, server_data) as fragile, fragile.client() as client:
        asked = await client.ask_new_chat("demo/150x10ms")
        process, stdout = await read(event_source, fragile.urls[0] + asked["stream"])
        assert await stdout.readline() == b"five\n"
        await fragile.apis[0].kill()
        await fragile.apis[0].start()
        result = await last_line(process, stdout)
        whole = await Reader().read(client, asked["answer"])
    texts = [event["text"] for event in result["seen"] if "text" in event]
    ids = [event["id"] for event in result["seen"] if "text" in event]
    assert "".join(texts) == whole.text
    assert ids == [f"1.{index}" for index in range(1, len(ids) + 1)]
