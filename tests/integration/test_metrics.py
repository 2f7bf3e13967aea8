"""What both services tell of themselves, held against what was asked of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from shared.metrics import may_scrape
from shared.settings import Settings
from tests.support.provider_scripts import openai, openai_events, status, stream
from tests.support.reader import Reader, at_index
from tests.support.scrape import Scrape
from tests.support.scripted_provider import ScriptedProvider
from tests.support.servers import NatsProcess, PostgresProcess, temporary_data
from tests.support.system import Client, System

CONFIG = """
[providers.demo]
kind = "demo"
[providers.plain]
kind = "openai"
base_url = "{url}"
models = ["m"]
"""


class Measured:
    """A system with both ports of both services, and what was asked of it."""

    def __init__(self, system: System, provider: ScriptedProvider) -> None:
        self.system = system
        self.provider = provider
        self.generator_url = system.generator_urls[0]

    async def api(self) -> Scrape:
        return await Scrape.of(self.system.urls[0])

    async def generator(self) -> Scrape:
        return await Scrape.of(self.generator_url)


@contextlib.asynccontextmanager
async def made(**settings: Any) -> AsyncIterator[Measured]:
    """Servers and services of its own, so that every number is known."""
    async with contextlib.AsyncExitStack() as stack:
        directory = stack.enter_context(temporary_data())
        provider = await stack.enter_async_context(ScriptedProvider())
        config = directory / "measured.toml"
        config.write_text(CONFIG.format(url=provider.base_url))
        nats = await stack.enter_async_context(NatsProcess(directory / "nats"))
        postgres = await stack.enter_async_context(PostgresProcess(directory / "postgres"))
        system = System(
            nats.url,
            postgres.url,
            directory,
            config=config,
            titles=False,
            provider_backoff_seconds=0.01,
            **settings,
        )
        await stack.enter_async_context(system)
        yield Measured(system, provider)


@pytest.fixture(scope="module")
async def measured() -> AsyncIterator[Measured]:
    async with made() as here:
        await _use(here)
        yield here


async def _use(here: Measured) -> None:
    """Four answers completed, one failed, one cancelled; one of them resumed, one read after its end."""
    async with here.system.client() as client:
        for _ in range(3):
            await _read(client, await client.ask_new_chat("demo/20x5ms"))
        here.provider.script(status(503), openai("fine"))
        await _read(client, await client.ask_new_chat("plain/m"))
        here.provider.script(status(400, "never"))
        await _read(client, await client.ask_new_chat("plain/m"))
        cancelled = await client.ask_new_chat("demo/2000x5ms")
        reader = await Reader().read(client, cancelled["answer"], until=at_index(3))
        await client.http.post(f"/v1/answers/{cancelled['answer']}/cancel")
        await reader.read(client, cancelled["answer"])
        await client.http.get("/v1/chats/nothing-like-an-id")
        await client.http.get("/nowhere/secret-path")


async def _read(client: Client, asked: dict[str, str]) -> Reader:
    reader = await Reader().read(client, asked["answer"])
    assert reader.done is not None
    return reader


async def test_answers_are_counted_by_provider_and_outcome(measured: Measured) -> None:
    told = await measured.generator()
    assert told.sum("unspool_answers_total", provider="demo", outcome="completed") == 3
    assert told.sum("unspool_answers_total", provider="plain", outcome="completed") == 1
    assert told.sum("unspool_answers_total", outcome="failed", code="provider-refused") == 1
    assert told.sum("unspool_answers_total", outcome="cancelled") == 1
    assert told.sum("unspool_answers_total") == 6
    assert told.sum("unspool_answer_attempts_count") == 6
    assert told.sum("unspool_attempts_total", provider="plain") == 2
    assert told.sum("unspool_provider_errors_total", provider="plain", kind="provider-refused") == 1
    assert told.sum("unspool_provider_errors_total") == 1
    assert told.sum("unspool_provider_retries_total", provider="plain") == 1
    assert told.sum("unspool_takeovers_total") == 0
    assert told.sum("unspool_answers_in_flight") == 0


async def test_what_answers_let_their_readers_wait_is_told_by_the_brokers_clock(measured: Measured) -> None:
    told = await measured.api()
    assert told.sum("unspool_first_token_seconds_count") == 5  # all but the one that was refused
    assert 0 < told.sum("unspool_first_token_seconds_sum") < 5 * 60
    assert told.sum("unspool_answer_tokens_per_second_count") >= 3


async def test_streams_are_counted_by_how_they_begin_and_what_was_written(measured: Measured) -> None:
    told = await measured.api()
    assert told.sum("unspool_streams_opened_total", kind="start", source="hot") == 6
    assert told.sum("unspool_streams_opened_total", kind="resume", source="hot") == 1
    assert told.sum("unspool_stream_watchers") == 0
    streams, frames = 7, told.sum("unspool_stream_frames_total")
    assert frames > 60
    # Frames that have piled up go out in one write: how many that are depends on the machine.
    assert streams <= told.sum("unspool_stream_writes_total") <= frames
    assert told.sum("unspool_stream_bytes_total") > 1000


async def test_requests_are_counted_by_route_and_nothing_of_a_path_becomes_a_label(
    measured: Measured,
) -> None:
    told = await measured.api()
    posted = {"method": "POST", "route": "/v1/chats/{chat}/messages"}
    assert told.sum("unspool_http_requests_total", **posted, status="202") == 6
    assert told.sum("unspool_http_first_byte_seconds_count", **posted) == 6
    assert told.sum("unspool_http_requests_total", route="/v1/chats/{chat}", status="404") == 1
    assert told.sum("unspool_http_requests_total", route="none", status="404") == 1
    assert not [value for value in told.label_values() if "secret-path" in value or "nothing-like" in value]


async def test_queue_followers_and_read_model_are_told_as_they_stand(measured: Measured) -> None:
    async with asyncio.timeout(30):
        while (told := await measured.api()).sum("unspool_projection_lag") != 0:
            await asyncio.sleep(0.1)
    assert told.sum("unspool_queue_waiting") == told.sum("unspool_queue_in_hand") == 0
    assert told.sum("unspool_queue_age_seconds") == 0
    assert told.sum("unspool_queue_pulls") >= 1
    assert told.sum("unspool_follower_lag") == 0
    assert told.sum("unspool_follower_caught_up") == 2
    assert told.sum("unspool_projector_state", state="active") == 1
    assert told.sum("unspool_hot_log_answers") == 6
    assert 0 < told.sum("unspool_hot_log_bytes") < told.sum("unspool_hot_log_bytes_max")


async def test_appends_are_timed_by_stream(measured: Measured) -> None:
    by_generator, by_api = await measured.generator(), await measured.api()
    assert by_generator.sum("unspool_append_seconds_count", stream="tokens") > 60
    # One end per answer, and one that did not expect the cancel before it.
    assert by_generator.sum("unspool_append_seconds_count", stream="chats") == 7
    assert by_generator.sum("unspool_appends_not_stored_total", stream="chats", reason="conflict") == 1
    assert by_api.sum("unspool_append_seconds_count", stream="chats") >= 13  # 6 chats, 6 questions, a cancel
    assert by_api.sum("unspool_append_seconds_bucket", le="+Inf") == by_api.sum(
        "unspool_append_seconds_count"
    )


async def test_the_generators_port_answers_for_the_platform(measured: Measured) -> None:
    async with httpx.AsyncClient(base_url=measured.generator_url) as http:
        assert (await http.get("/livez")).text == "ok\n"
        assert (await http.get("/readyz")).status_code == 200
        assert (await http.head("/readyz")).text == ""
        assert (await http.get("/elsewhere")).status_code == 404
        assert (await http.post("/livez")).status_code == 405


async def test_a_waiting_question_has_an_age_and_a_crash_is_a_takeover() -> None:
    async with made(answers_in_flight_max=1) as here, here.system.client() as client:
        here.provider.script(stream(*openai_events("begun", finish_reason=None, done=False), 30.0))
        running = await client.ask_new_chat("plain/m")
        await Reader().read(client, running["answer"], until=at_index(1))
        waiting = await client.ask_new_chat("demo/20x5ms")
        async with asyncio.timeout(30):
            while not (told := await here.api()).sum("unspool_queue_age_seconds") > 0.0:
                await asyncio.sleep(0.1)
        assert told.sum("unspool_queue_in_hand") >= 1
        await here.system.generators[0].kill()
        await here.system.generators[0].start()
        await _read(client, running)
        await _read(client, waiting)
        assert (await here.generator()).sum("unspool_takeovers_total", **{"from": "crashed"}) == 1


async def test_a_key_for_scrapers_closes_metrics_on_both_ports_and_nothing_else() -> None:
    async with made(metrics_key="key-of-metrics") as here:
        for url in (here.system.urls[0], here.generator_url):
            async with httpx.AsyncClient(base_url=url) as http:
                assert (await http.get("/metrics")).status_code == 401
                assert (await http.get("/livez")).status_code == 200
            assert (await Scrape.of(url, "key-of-metrics")).series()


def test_where_a_key_is_set_a_scraper_needs_one_and_the_apis_own_opens_metrics_too() -> None:
    assert may_scrape(Settings(), "")
    both = Settings(api_key="of-api", metrics_key="of-metrics")
    assert may_scrape(both, "Bearer of-api")
    assert may_scrape(both, "bearer of-metrics")
    for wrong in ("", "of-api", "Basic of-api", "Bearer ", "Bearer of-apj"):
        assert not may_scrape(both, wrong)
        assert not may_scrape(Settings(api_key="of-api"), wrong)
