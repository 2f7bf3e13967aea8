"""More questions than generators can take: refused before anything is stored, and accepted again when there is room."""

import asyncio
from pathlib import Path
from uuid import uuid4

from tests.support.reader import Reader
from tests.support.servers import NatsProcess
from tests.support.system import System

QUEUE_MAX = 3
PATIENCE_SECONDS = 60.0


async def test_a_full_queue_refuses_and_stores_nothing_and_an_emptied_one_accepts_the_same_call(
    data_directory: Path, database: str
) -> None:
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        NatsProcess(data_directory) as nats,
        System(nats.url, database, data_directory, queue_max=QUEUE_MAX) as system,
        system.client() as client,
    ):
        await system.generators[0].terminate()
        accepted, refused = [], None
        while refused is None:  # the depth is known a little later than it changes
            url = f"/v1/chats/{await client.chat(model='demo/3x1ms')}/messages"
            body = {"id": str(uuid4()), "content": "Tell me."}
            response = await client.http.post(url, json=body)
            if response.status_code == 202:
                accepted.append(response.json()["answer"])
            else:
                refused = response
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["type"] == "urn:unspool:queue-full"
        assert len(accepted) >= QUEUE_MAX
        chat = url.split("/")[3]
        assert (await client.http.get(f"/v1/chats/{chat}")).json()["messages"] == []
        await system.generators[0].start()
        while (again := await client.http.post(url, json=body)).status_code == 503:
            await asyncio.sleep(float(again.headers["retry-after"]))
        for answer in (*accepted, again.json()["answer"]):
            assert (await Reader().read(client, answer)).done is not None
