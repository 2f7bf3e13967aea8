"""Answers whose request vanished from the queue."""

import asyncio
from pathlib import Path

from shared.domain import subjects
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support.reader import Reader
from tests.support.servers import NatsProcess
from tests.support.system import Client, System


async def test_an_answer_whose_request_vanished_from_the_queue_ends_as_failed_and_can_be_asked_for_again(
    database: str, data_directory: Path
) -> None:
    async with NatsProcess(data_directory) as nats:
        system = System(nats.url, database, data_directory, orphan_check_seconds=0.2)
        async with system, system.client() as client:
            await system.generators[0].kill()
            lost, waiting = await client.ask_new_chat("demo/3x1ms"), await client.ask_new_chat("demo/3x1ms")
            await vanish(nats.url, lost)
            reader = await asyncio.wait_for(Reader().read(client, lost["answer"]), 60)
            assert reader.done is not None
            assert (reader.done["status"], reader.done["error"]["code"]) == ("failed", "request-lost")
            assert (await client.answer(waiting["answer"]))["status"] == "queued"
            history = await client.history(lost["answer"].partition("_")[0], after=reader.done["cursor"])
            assert history["generating"] is False
            await system.generators[0].start()
            await wait_for_end(client, waiting)
            again = await client.http.post(f"/v1/answers/{lost['answer']}/regenerate", json={})
            assert again.status_code == 202
            await wait_for_end(client, again.json())


async def vanish(nats_url: str, asked: dict[str, str]) -> None:
    """As when somebody takes it from the queue and acknowledges it, without making the answer."""
    log = await EventLog.connect(Settings(nats_url=nats_url), "thief")

    async def one() -> int:
        return 1

    try:
        async for delivery in log.requests(subjects.GENERATORS, one):
            if asked["message"] in delivery.recorded.data.decode():
                await delivery.ack()
                return
            await delivery.nak()
    finally:
        await log.close()


async def wait_for_end(client: Client, asked: dict[str, str]) -> None:
    reader = await asyncio.wait_for(Reader().read(client, asked["answer"]), 60)
    assert reader.done is not None
    assert reader.done["status"] == "completed"
