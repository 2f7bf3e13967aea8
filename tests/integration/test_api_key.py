"""With a key set, nobody comes in without it: not on any route, not with any nonsense in its place."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from services.api.app import make_app
from services.api.http import problems
from services.api.http.openapi import examples
from shared.domain import subjects
from shared.domain.subjects import Sequence
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support.scrape import Scrape
from tests.support.servers import temporary_data
from tests.support.system import Client, System

KEY = "a key of ours"
ROUTES = [
    (method.upper(), path.format(chat=examples.CHAT, answer=examples.ANSWER))
    for path, methods in make_app(Settings()).openapi()["paths"].items()
    for method in methods
]
OPEN = {"/livez", "/readyz"}
_POLL_SECONDS = 0.05
_READY_SECONDS = 30


class Guarded(System):
    async def wait_until_ready(self, number: int = 0) -> None:
        """Without a key there is nothing but this to ask."""
        async with httpx.AsyncClient(base_url=self.urls[number]) as client, asyncio.timeout(_READY_SECONDS):
            while not await _is_ready(client):
                await asyncio.sleep(_POLL_SECONDS)


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
async def guarded(system: System, nats_url: str, postgres_url: str) -> AsyncIterator[Client]:
    """Beside the open system, which has the generator."""
    with temporary_data() as data:
        made = Guarded(nats_url, postgres_url, Path(data), apis=1, generators=0, api_key=KEY)
        async with made, made.client() as client:
            yield client
            assert "Traceback" not in made.apis[0].log()


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "given",
    [None, "", "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY} x", "Bearer \xff", "Bearer " + "x" * 50_000],
    ids=lambda given: ascii(given)[:20],
)  # fmt: skip
async def test_every_route_but_two_asks_for_the_key(
    guarded: Client, method: str, path: str, given: str | None
) -> None:
    headers = {} if given is None else {b"authorization": given.encode("latin-1")}
    body = {"json": {"id": examples.CHAT}} if method in {"POST", "PATCH"} else {}
    response = await guarded.http.request(method, path, headers=headers, **body)  # type: ignore[arg-type]
    if path in OPEN:
        assert response.status_code == 200
        return
    assert response.status_code == 401
    assert response.headers["content-type"] == problems.MEDIA_TYPE
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["type"] == "urn:unspool:unauthorized"


async def test_nothing_of_it_is_in_the_log_and_the_key_opens(guarded: Client, nats_url: str) -> None:
    log = await EventLog.connect(Settings(nats_url=nats_url), "api-key")
    try:
        assert await log.read(subjects.facts(examples.CHAT), Sequence(0)) == []
    finally:
        await log.close()
    for scheme in ("Bearer", "bearer"):
        response = await guarded.http.get("/v1/chats", headers={"authorization": f"{scheme} {KEY}"})
        assert response.status_code == 200


async def test_the_key_closes_a_generators_metrics_and_opens_them_too(
    nats_url: str, postgres_url: str, data_directory: Path
) -> None:
    made = System(nats_url, postgres_url, data_directory, apis=0, api_key=KEY)
    async with made, httpx.AsyncClient(base_url=made.generator_urls[0]) as http:
        await made.wait_until_generator_ready(0)
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/livez")).status_code == 200
        assert (await Scrape.of(made.generator_urls[0], KEY)).series()


async def test_the_key_opens_the_apis_metrics(guarded: Client) -> None:
    """That nothing else does: `test_every_route_but_two_asks_for_the_key`."""
    assert (await Scrape.of(str(guarded.http.base_url), KEY)).series()
