"""infra/compose.cluster.yaml for real: three NATS nodes, each of which dies once, and what each service may not do."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.support.answers import QUESTION, text_of
from tests.support.containers import Containers, follow, skip_without_engine, wait_for_index
from tests.support.reader import Reader

pytestmark = pytest.mark.timeout(420)

MODEL = "demo/300x20ms"
ANSWERS = 6
# Publishes to each subject it is given, as the service in whose container it runs; prints what NATS refused.
PROBE = """
import asyncio, json, os, ssl, sys
import nats

async def main():
    refused = []

    async def failed(error):
        refused.append(str(error))

    authority = ssl.create_default_context(cafile=os.environ["UNSPOOL_NATS_CA"])
    urls = os.environ["UNSPOOL_NATS_URL"].split(",")
    client = await nats.connect(urls, tls=authority, error_cb=failed)
    for subject in sys.argv[1:]:
        await client.publish(subject, b"{}")
    await client.flush()
    for _ in range(50):  # what is refused is told beside the stream of replies
        if len(refused) >= len(sys.argv) - 1:
            break
        await asyncio.sleep(0.1)
    print(json.dumps(refused))
    await client.close()

asyncio.run(main())
"""
CHAT = "00000000-0000-4000-8000-000000000000"
FORBIDDEN = {
    "api": [
        "$JS.API.CONSUMER.MSG.NEXT.CHATS.generators",
        "$JS.ACK.CHATS.generators.1.1.1.1.0",
        "$JS.API.CONSUMER.DELETE.CHATS.generators",
        "$JS.API.STREAM.DELETE.CHATS",
        f"chats.{CHAT}.title-generated",
        "models.demo",
    ],
    "generator": [
        f"chats.{CHAT}.message-requested",
        f"chats.{CHAT}.chat-created",
        f"chats.{CHAT}.chat-deleted",
        "$JS.API.STREAM.PURGE.CHATS",
        "$JS.API.STREAM.UPDATE.CHATS",
        "$JS.API.STREAM.DELETE.TOKENS",
        "$JS.API.STREAM.CREATE.OTHER",
    ],
}


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containers]:
    skip_without_engine()
    directory = tmp_path_factory.mktemp("cluster")
    async with Containers(directory, "compose.yaml", "compose.cluster.yaml") as made:
        yield made


@pytest.mark.parametrize("service", FORBIDDEN)
async def test_a_service_may_not_write_what_is_not_its_own(cluster: Containers, service: str) -> None:
    said = await cluster("exec", "-T", service, "python", "-c", PROBE, *FORBIDDEN[service])
    refused = json.loads(next(line for line in said.splitlines() if line.startswith("[")))
    assert len(refused) == len(FORBIDDEN[service]), refused
    assert all("permissions violation" in one.lower() for one in refused)


async def test_nobody_comes_in_without_tls(cluster: Containers) -> None:
    """The name and the password are right; the connection is not encrypted."""
    plain = PROBE.replace(
        'os.environ["UNSPOOL_NATS_URL"]', "os.environ[\"UNSPOOL_NATS_URL\"].replace('tls:', 'nats:')"
    )
    plain = plain.replace("tls=authority, ", "connect_timeout=2, allow_reconnect=False, ")
    assert plain.count("connect_timeout") == 1
    said = await cluster("exec", "-T", "api", "python", "-c", plain, "workers.x", check=False)
    assert "Error" in said


async def test_the_loss_of_any_one_node_loses_nothing(cluster: Containers) -> None:
    whole = text_of(MODEL)
    asked: list[str] = []
    async with cluster.http() as http:
        for node in ("nats", "nats-2", "nats-3"):
            async with asyncio.TaskGroup() as group:
                answers = [await cluster.ask(http, MODEL, QUESTION) for _ in range(ANSWERS)]
                readers = [Reader() for _ in answers]
                following = [
                    group.create_task(follow(http, answer, reader))
                    for answer, reader in zip(answers, readers, strict=True)
                ]
                await wait_for_index(readers, 20)
                await cluster("kill", "--signal", "KILL", node)
                # Asked while the node is away; some of it while there is no leader yet.
                late = [await cluster.ask(http, MODEL, QUESTION) for _ in range(ANSWERS // 2)]
                following += [group.create_task(follow(http, answer)) for answer in late]
            assert [task.result().text for task in following] == [whole] * len(following), node
            asked += answers + late
            await cluster("up", "--detach", "--wait", node)
            await caught_up(cluster, node)
        # From the log alone: what was made of it meanwhile is thrown away first.
        assert "rebuilt" in await cluster("exec", "-T", "api", "unspool", "rebuild")
        for answer in asked:
            stored = (await http.get(f"/v1/answers/{answer}")).json()
            assert stored["status"] == "completed", stored
            assert stored["text"] == whole


async def caught_up(cluster: Containers, node: str) -> None:
    """Without `js-server-only`, health means that this node's copies of all streams are up to date."""
    url = "http://127.0.0.1:8222/healthz"
    async with asyncio.timeout(60):
        while "ok" not in await cluster("exec", "-T", node, "wget", "-q", "-O", "-", url, check=False):
            await asyncio.sleep(0.5)
