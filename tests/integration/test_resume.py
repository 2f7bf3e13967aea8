"""The promise: any reader, cut anywhere, on any replica, gets exactly what it lacks."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from services.api.streaming import sse
from shared.domain import subjects
from shared.domain.events import decode_answer_event
from shared.domain.subjects import Index, Sequence
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support.reader import Reader, at_index
from tests.support.system import Client, System


async def test_ask_stream_drop_resume_on_another_replica_and_read_back(system: System) -> None:
    async with system.client(0) as one, system.client(1) as two:
        asked = await one.ask_new_chat("demo/60x10ms")
        reader = await Reader().read(one, asked["answer"], until=at_index(10))
        assert "done" not in dict(reader.events)
        other = await one.ask_new_chat("demo/10x1ms")  # another chat meanwhile
        assert (await Reader().read(one, other["answer"])).done is not None
        await reader.read(two, asked["answer"])
        assert reader.done is not None
        whole = await Reader().read(two, asked["answer"])
        assert reader.text == whole.text
        history = await two.history(asked["answer"].partition("_")[0], after=reader.done["cursor"])
        assert history["messages"][1]["text"] == reader.text
        assert (await one.answer(asked["answer"]))["text"] == reader.text


async def test_an_answer_that_was_seen_to_end_has_ended_for_every_replica_that_is_asked_after_it(
    system: System,
) -> None:
    async with system.client(0) as one, system.client(1) as two:
        for _ in range(10):
            asked = await one.ask_new_chat("demo/2x0ms")
            reader = await Reader().read(one, asked["answer"])
            assert reader.done is not None
            url, after = f"/v1/answers/{asked['answer']}", reader.done["cursor"]
            found = await two.http.get(url, params={"after": after})
            assert (found.json()["status"], found.json()["text"]) == ("completed", reader.text)
        assert (await two.http.get(url, params={"after": "yesterday"})).status_code == 422


@hypothesis_settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cuts=st.lists(st.lists(st.integers(1, 40), max_size=4).map(sorted), min_size=8, max_size=8))
async def test_many_readers_each_cut_at_random_points_over_two_replicas_read_the_same(
    system: System, cuts: list[list[int]]
) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(system.client(number)) for number in (0, 1)]
        asked = await clients[0].ask_new_chat("demo/40x2ms")

        async def read(number: int, at: list[int]) -> Reader:
            reader = Reader()
            for turn, index in enumerate(at):
                if reader.done is None:
                    await reader.read(clients[(number + turn) % 2], asked["answer"], until=at_index(index))
            while reader.done is None:
                await reader.read(clients[number % 2], asked["answer"])
            return reader

        readers = await asyncio.gather(*(read(number, at) for number, at in enumerate(cuts)))
    assert len({reader.text for reader in readers}) == 1
    assert len({reader.last_index for reader in readers}) == 1


async def test_the_hot_log_has_the_bytes_of_a_replay_of_the_subject(system: System, nats_url: str) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/50x2ms")
        served = b""
        async with client.http.stream("GET", asked["stream"]) as response:
            async for chunk in response.aiter_raw():
                served += chunk
    log = await EventLog.connect(Settings(nats_url=nats_url), "replay")
    try:
        stored = await log.read(subjects.answer(asked["answer"]), Sequence(0))
    finally:
        await log.close()
    events = [decode_answer_event(one.data) for one in stored]
    frames = [sse.frame_of(event, getattr(event, "index", Index(0))) for event in events]
    replayed = sse.preamble(1000) + b"".join(frame for frame in frames if frame)
    assert served.startswith(replayed)
    assert served[len(replayed) :].startswith(b"id: 1.end\nevent: done\n")


async def test_an_answer_that_is_no_longer_hot_comes_as_one_snapshot_and_its_end(
    system: System, nats_url: str, postgres_url: str
) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/20x1ms")
        hot = await Reader().read(client, asked["answer"])
    late = System(
        nats_url, postgres_url, system._directory, apis=1, generators=0, follower_overlap_seconds=0.001
    )
    async with late, late.client() as client:
        await client.ask_new_chat("demo/1x1ms")  # so that the overlap of a still later one is over
        cold = await Reader().read(client, asked["answer"])
    assert [event for event, _ in cold.events] == ["snapshot", "done"]
    assert cold.text == hot.text
    assert cold.done == hot.done


async def test_a_replica_that_comes_late_serves_a_running_answer_from_its_beginning(
    system: System, nats_url: str, postgres_url: str
) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/200x20ms")
        early = Reader()
        reading = asyncio.create_task(early.read(client, asked["answer"]))
        late = System(
            nats_url, postgres_url, system._directory, apis=1, generators=0, follower_overlap_seconds=0.001
        )
        async with late, late.client() as other:
            readers = [Reader() for _ in range(5)]
            await asyncio.gather(*(reader.read(other, asked["answer"]) for reader in readers))
        await reading
    assert {reader.text for reader in readers} == {early.text}
    assert early.done is not None


async def test_after_the_end_its_cursor_gives_204(system: System) -> None:
    async with system.client(0) as one, system.client(1) as two:
        asked = await one.ask_new_chat("demo/3x1ms")
        reader = await Reader().read(one, asked["answer"])
        assert reader.cursor == "1.end"
        for client in (one, two):
            response = await client.http.get(asked["stream"], headers={"last-event-id": "1.end"})
            assert response.status_code == 204


@pytest.mark.parametrize("cursor", ["1.999999", "7.2", "9.end"])
async def test_a_cursor_that_the_log_does_not_know_gets_a_snapshot_never_an_error(
    system: System, cursor: str
) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/5x1ms")
        whole = await Reader().read(client, asked["answer"])
        reader = Reader()
        reader.cursor = cursor
        await reader.read(client, asked["answer"])
    assert [event for event, _ in reader.events] == ["snapshot", "done"]
    assert reader.text == whole.text


async def test_the_header_wins_over_the_query_and_no_cursor_at_all_is_400(system: System) -> None:
    async with system.client() as client:
        asked = await client.ask_new_chat("demo/5x1ms")
        await Reader().read(client, asked["answer"])
        url = f"{asked['stream']}?after=1.1"
        assert (await client.http.get(url, headers={"last-event-id": "1.end"})).status_code == 204
        assert "id: 1.1\n" not in (await client.http.get(url)).text
        bad = await client.http.get(f"{asked['stream']}?after=nonsense")
        assert (bad.status_code, bad.headers["content-type"]) == (400, "application/problem+json")


async def test_done_comes_only_when_its_cursor_can_be_read(system: System) -> None:
    async with system.client() as client:
        for _ in range(5):
            asked = await client.ask_new_chat("demo/2x1ms")
            reader = await Reader().read(client, asked["answer"])
            assert reader.done is not None
            chat = asked["answer"].partition("_")[0]
            history = await client.history(chat, after=reader.done["cursor"])
            assert history["generating"] is False
            assert history["messages"][1]["status"] == "completed"


async def test_the_answer_streams_in_the_response_to_the_question_and_its_first_event_names_it(
    system: System,
) -> None:
    async with system.client() as client:
        chat = await client.chat()
        headers = {"accept": "text/event-stream"}
        body = {"content": "hi", "model": "demo/5x1ms"}
        reader = Reader()
        async with client.http.stream(
            "POST", f"/v1/chats/{chat}/messages", json=body, headers=headers
        ) as response:
            async for line in response.aiter_lines():
                reader.line(line)
        event, accepted = reader.events[0]
        assert event == "accepted"
        assert reader.done is not None
        assert (await client.answer(accepted["answer"]))["text"] == reader.text


async def test_many_watchers_of_one_answer_get_the_same_bytes(system: System) -> None:
    async with system.client(limits=httpx.Limits(max_connections=200)) as client:
        asked = await client.ask_new_chat("demo/30x5ms")
        bodies = await asyncio.gather(*(client.http.get(asked["stream"]) for _ in range(100)))
        assert len({body.content for body in bodies}) == 1


async def stream_of(client: Client, answer: str) -> Reader:
    return await Reader().read(client, answer)


async def test_answers_side_by_side_do_not_mix(system: System) -> None:
    async with system.client(0) as one, system.client(1) as two:
        asked = [await one.ask_new_chat(f"demo/{10 + number}x3ms") for number in range(20)]
        readers = await asyncio.gather(*(stream_of(two, each["answer"]) for each in asked))
        for each, reader in zip(asked, readers, strict=True):
            assert reader.done is not None
            assert (await two.answer(each["answer"]))["text"] == reader.text


async def test_an_api_that_is_told_to_stop_breaks_its_streams_off_and_ends_well(
    nats_url: str, postgres_url: str, system: System
) -> None:
    async with (
        System(nats_url, postgres_url, system._directory, generators=0) as leaving,
        leaving.client() as client,
    ):
        asked = await client.ask_new_chat("demo/2000x20ms")
        reader = Reader()
        reading = asyncio.create_task(reader.read(client, asked["answer"]))
        while reader.last_index < 3:
            await asyncio.sleep(0.01)
        assert await leaving.apis[0].terminate() == 0
        await reading
        assert "done" not in dict(reader.events)
        assert "Traceback" not in leaving.apis[0].log()
    async with system.client() as other:
        assert (await other.http.post(f"/v1/answers/{asked['answer']}/cancel")).status_code in {200, 202}
        await reader.read(other, asked["answer"])
        assert reader.done is not None
