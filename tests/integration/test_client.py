"""The client's streams from servers that misbehave in every way, and from real ones."""

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from unspool_client import (
    Client,
    Connected,
    Connection,
    ContractBroken,
    Done,
    Interrupted,
    Missing,
    Patience,
    Refused,
    Snapshot,
    Started,
    StreamEvent,
    Token,
    Transcript,
    Unauthorized,
    Unreachable,
)

from tests.support import streams
from tests.support.misbehaving_server import (
    ANSWER,
    SOON,
    Act,
    Misbehaving,
    client_of,
    hang_up,
    respond,
    stream,
    then_silent,
)
from tests.support.streams import KEEP_ALIVE, RETRY_AT_ONCE, done, reset, snapshot, started, token
from tests.support.system import System, free_port


async def events_of(client: Client, after: str | None = None, **options: Any) -> list[StreamEvent]:
    return [event async for event in client.stream(ANSWER, after, **options)]


async def read(*acts: Act, patience: Patience = SOON) -> tuple[Transcript, list[str | None]]:
    """What the answer says to a client, and the cursors that it came with."""
    transcript = Transcript()
    async with Misbehaving(*acts) as server, client_of(server, patience=patience) as client:
        indexes: list[int] = []
        async for event in client.stream(ANSWER):
            transcript.apply(event)
            indexes += [event.index] if isinstance(event, Token) else []
        assert len(indexes) == len(set(indexes)), "a token came twice"
        return transcript, server.cursors


# --- streams that break off ------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", [False, True], ids=["broken off", "closed as if all were well"])
async def test_a_close_without_done_means_connect_again(*, ends: bool) -> None:
    transcript, cursors = await read(
        stream(RETRY_AT_ONCE, started(), token(1), token(2), ends=ends),
        stream(RETRY_AT_ONCE, token(3), done(3), ends=True),
    )
    assert (transcript.text, cursors) == ("1 2 3 ", [None, "1.2"])


async def test_a_cut_in_the_middle_of_an_event_loses_nothing() -> None:
    transcript, cursors = await read(stream(token(1), token(2)[:-3]), stream(token(2), done(2)))
    assert (transcript.text, cursors) == ("1 2 ", [None, "1.1"])


async def test_a_server_that_hangs_up_is_asked_again() -> None:
    transcript, _ = await read(hang_up(), stream(token(1), done(1)))
    assert transcript.text == "1 "


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_server_that_cannot_now_is_asked_again(status: int) -> None:
    busy = respond(status, {"title": "Not now"})
    transcript, cursors = await read(busy, stream(token(1)), busy, busy, stream(token(2), done(2)))
    assert (transcript.text, cursors) == ("1 2 ", [None, None, "1.1", "1.1", "1.1"])


async def test_retry_after_is_honoured_and_the_reason_is_told() -> None:
    told: list[Connection] = []
    patience = Patience(first_wait_seconds=0.001, longest_wait_seconds=0.001, retry_after_max_seconds=0.05)
    acts = (respond(503, {"title": "Too many", "detail": "come later"}, retry_after="7"), stream(done(0)))
    async with Misbehaving(*acts) as server, client_of(server, patience=patience) as client:
        await events_of(client, watch=told.append)
    assert told == [Interrupted(server.url, "Too many: come later", 0.05), Connected(server.url)]


async def test_silence_is_a_dead_connection() -> None:
    impatient = Patience(first_wait_seconds=0.001, longest_wait_seconds=0.001, idle_seconds=0.5)
    transcript, cursors = await read(
        then_silent(token(1), KEEP_ALIVE), stream(token(2), done(2)), patience=impatient
    )
    assert (transcript.text, cursors) == ("1 2 ", [None, "1.1"])


async def test_nothing_comes_twice_from_a_server_that_repeats_itself() -> None:
    transcript, _ = await read(
        stream(started(), token(1), token(1), token(2)),
        stream(started(), token(1), token(2), token(3), done(3)),
    )
    assert transcript.text == "1 2 3 "


async def test_a_gap_is_read_again_from_the_last_token_that_was_in_order() -> None:
    transcript, cursors = await read(
        stream(token(1), token(3), done(3)),
        stream(token(2), done(3)),  # an end that comes too soon is a gap as well
        stream(token(3), done(3)),
    )
    assert (transcript.text, cursors) == ("1 2 3 ", [None, "1.1", "1.2"])


async def test_a_snapshot_replaces_what_the_client_has() -> None:
    transcript, cursors = await read(
        stream(token(1, "lost")), stream(snapshot("whole", 9, 2)), stream(token(10, "!", 2), done(10, 2))
    )
    assert (transcript.text, cursors) == ("whole!", [None, "1.1", "2.9"])


async def test_a_reset_drops_the_text_once() -> None:
    transcript, cursors = await read(
        stream(started(1), token(1, "old"), started(2), reset(2)),
        stream(started(2), reset(2), token(2, "new", 2), done(2, 2)),
    )
    assert (transcript.text, cursors) == ("new", [None, "1.1"])


async def test_unicode_line_breaks_and_events_of_a_later_version_are_no_trouble() -> None:
    transcript, _ = await read(
        stream(streams.frame("weather", {"sun": True}), token(1, "a\u2028b\u0085c\u2029"), done(1))
    )
    assert transcript.text == "a\u2028b\u0085c\u2029"


@hypothesis_settings(max_examples=30, deadline=None)
@given(streams.ATTEMPTS, st.lists(st.integers(0, 10_000), max_size=4))
async def test_cut_at_any_byte_it_says_the_same(attempts: list[streams.Attempt], cuts: list[int]) -> None:
    sent = streams.answer(attempts)

    def part(cut: int | None) -> Act:
        async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            data = streams.resumed(sent, server.cursors[-1])
            await stream(data if cut is None else data[: cut % len(data)])(reader, writer)

        return act

    transcript = Transcript()
    async with Misbehaving(*map(part, cuts), part(None)) as server, client_of(server) as client:
        async for event in client.stream(ANSWER):
            transcript.apply(event)
    assert transcript.text == sent[-1].text


# --- ends ------------------------------------------------------------------------------------------------


async def test_204_ends_it_with_nothing() -> None:
    async with Misbehaving(respond(204)) as server, client_of(server) as client:
        assert await events_of(client, "1.end") == []
        assert server.cursors == ["1.end"]


async def test_a_cursor_of_ones_own_is_gone_on_from() -> None:
    async with Misbehaving(stream(token(8), done(8))) as server, client_of(server) as client:
        assert [type(event) for event in await events_of(client, "1.7")] == [Token, Done]
        assert server.cursors == ["1.7"]
        with pytest.raises(ValueError, match="not a cursor"):
            client.stream(ANSWER, "1.7\r\nx: y")


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Refused), (401, Unauthorized), (404, Missing), (302, Refused)]
)
async def test_a_no_is_a_no(status: int, kind: type[Refused]) -> None:
    problem = {"title": "No", "detail": "not this", "status": status}
    async with Misbehaving(stream(token(1)), respond(status, problem)) as server, client_of(server) as client:
        with pytest.raises(kind, match="No: not this"):
            await events_of(client)


async def test_given_up_after_a_silence_that_is_too_long() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with Client(url, patience=SOON) as client:
        with pytest.raises(Unreachable, match="cannot connect"):
            await events_of(client, give_up_after_seconds=0.05)


async def test_what_never_keeps_the_contract_is_given_up() -> None:
    patience = Patience(first_wait_seconds=0.001, longest_wait_seconds=0.001, breaches_max=2)
    acts = (stream(token(5)), stream(b"<html>", kind=b"text/html"), stream(token(5)))
    async with Misbehaving(*acts) as server, client_of(server, patience=patience) as client:
        with pytest.raises(ContractBroken, match=r"token 1\.5 after index 0"):
            await events_of(client)


async def test_left_early_the_connection_is_closed() -> None:
    left = asyncio.Event()

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await then_silent(token(1))(reader, writer)
        left.set()

    async with Misbehaving(act) as server, client_of(server) as client:
        async with contextlib.aclosing(client.stream(ANSWER)) as events:
            assert isinstance(await anext(events), Token)
        await left.wait()


# --- several servers -----------------------------------------------------------------------------------------


async def test_what_one_server_began_another_goes_on_with() -> None:
    async with (
        Misbehaving(stream(token(1)), stream(token(3), done(3))) as one,
        Misbehaving(stream(token(2))) as two,
        client_of(one, two) as client,
    ):
        events = await events_of(client)
        assert [event.index for event in events if isinstance(event, Token)] == [1, 2, 3]
        assert (one.cursors, two.cursors) == ([None, "1.2"], ["1.1"])


async def test_a_dead_server_is_left_for_one_that_lives() -> None:
    models = respond(200, {"data": []})
    dead = f"http://127.0.0.1:{free_port()}"
    async with Misbehaving(models, models) as server, Client([dead, server.url], patience=SOON) as client:
        assert await client.models() == ()
        assert await client.models() == ()


# --- real servers ------------------------------------------------------------------------------------------


async def test_a_conversation(system: System) -> None:
    async with Client(system.urls) as client:
        chat = await client.create_chat(title="A title", metadata={"colour": "blue"})
        transcript = Transcript()
        asked = await client.post(chat.id, "What outlives a process?", model="demo/20x1ms")
        async for event in client.stream(asked.answer):
            transcript.apply(event)
        assert transcript.done is not None
        other = await client.regenerate(asked.answer, model="demo/10x1ms")
        async for event in client.stream(other.answer):
            last = event
        assert isinstance(last, Done)
        found = await client.chat(chat.id, after=last.cursor)
        assert [message.id for message in found.branch()] == [asked.message, other.answer]
        assert found.branch()[0].said == "What outlives a process?"
        assert (await client.answer(asked.answer)).text == transcript.text
        assert (await client.change_chat(chat.id, title="Another")).title == "Another"
        await client.delete_chat(chat.id)
        with pytest.raises(Missing):
            await client.chat(chat.id)


async def test_a_cancelled_answer_ends_with_the_text_so_far(system: System) -> None:
    async with Client(system.urls) as client:
        chat = await client.create_chat()
        transcript = Transcript()
        events = client.ask(chat.id, "Go on and on.", model="demo/2000x20ms")
        answer = ""
        async for event in events:
            transcript.apply(event)
            if isinstance(event, Token) and event.index == 3:
                answer = (await client.chat(chat.id)).branch()[-1].id
                await client.cancel(answer)
        assert transcript.done is not None
        assert transcript.done.status == "cancelled"
        assert (await client.cancel(answer)).text == transcript.text


@hypothesis_settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, 30), max_size=4))
async def test_from_any_cursor_and_over_two_replicas_the_same_tokens(
    system: System, stops: list[int]
) -> None:
    async with Client(system.urls) as one, Client(system.urls[::-1]) as two:
        asked = await one.post((await one.create_chat()).id, "Tell me.", model="demo/30x2ms")
        texts: list[str] = []
        cursor: str | None = None
        for turn, stop in enumerate([*sorted(stops), 1000]):
            async with contextlib.aclosing((one, two)[turn % 2].stream(asked.answer, cursor)) as events:
                async for event in events:
                    assert isinstance(event, Token | Started | Done), "nothing else is due"
                    if isinstance(event, Token):
                        texts.append(event.text)
                        cursor = event.id
                        if event.index >= stop:
                            break
        assert "".join(texts) == (await two.answer(asked.answer)).text


async def test_what_the_log_does_not_know_comes_as_a_snapshot(system: System) -> None:
    async with Client(system.urls) as client:
        asked = await client.post((await client.create_chat()).id, "Tell me.", model="demo/5x1ms")
        whole = Transcript()
        async for event in client.stream(asked.answer):
            whole.apply(event)
        events = [event async for event in client.stream(asked.answer, "7.3")]
        assert [type(event) for event in events] == [Snapshot, Done]
        assert Transcript().apply(events[0]).text == whole.text
