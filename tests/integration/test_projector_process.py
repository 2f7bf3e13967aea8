"""`unspool projector`: a process of its own, whose port says how it is."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx

from shared.domain import subjects
from shared.domain.events import encode, name_of
from shared.domain.subjects import ChatId, Sequence
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support import examples
from tests.support.scrape import Scrape
from tests.support.servers import NatsProcess, free_port
from tests.support.system import ROOT

KEY = "of-metrics"
SECONDS = 30.0


@contextlib.asynccontextmanager
async def projector(nats_url: str, database: str, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    settings = {
        "UNSPOOL_NATS_URL": nats_url,
        "UNSPOOL_POSTGRES_URL": database,
        "UNSPOOL_PROJECTOR_PORT": str(port),
        "UNSPOOL_METRICS_KEY": KEY,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", "projector"), cwd=ROOT, env=os.environ | settings
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(http: httpx.AsyncClient, path: str, status: int) -> httpx.Response:
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (response := await http.get(path)).status_code == status:
                    return response
            await asyncio.sleep(0.05)


async def test_its_port_tells_that_it_is_at_work_and_why_it_stopped(
    data_directory: Path, database: str
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with NatsProcess(data_directory / "nats") as nats:
        log = await EventLog.connect(Settings(nats_url=nats.url), "test")
        await log.ensure()
        async with projector(nats.url, database, port) as process, httpx.AsyncClient(base_url=url) as http:
            assert (await until(http, "/livez", 200)).text == "ok\n"
            assert (await http.get("/metrics")).status_code == 401
            async with asyncio.timeout(SECONDS):
                while not (told := await Scrape.of(url, KEY)).sum("unspool_projector_state", state="active"):
                    await asyncio.sleep(0.05)
            assert (await http.get("/readyz")).status_code == 200
            # No reading that this process does not take: a zero would be taken for one.
            assert told.series() == {"unspool_projector_state", "unspool_log_connected"}
            chat = ChatId(str(uuid4()))
            created = examples.chat_created(chat=chat)
            subject = subjects.fact(chat, name_of(created))
            await log.publish(subject, encode(created), expected=Sequence(0), scope=subject)
            sequence = await log.publish(
                subject, b'{"type":"chat-exploded.v9"}', expected=Sequence(1), scope=subject
            )
            stopped = await until(http, "/readyz", 503)
            assert f"sequence {sequence}" in stopped.text
            told = await Scrape.of(url, KEY)
            assert told.sum("unspool_projector_state", state="stopped") == 1
            assert told.sum("unspool_projector_state") == 1
            process.terminate()
            assert await asyncio.wait_for(process.wait(), SECONDS) == 0
        await log.close()
