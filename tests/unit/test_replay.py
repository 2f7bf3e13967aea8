"""A chat's events in the order in which they happened, at the pace at which they did, in words and as JSON."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from infra.inspect.entries import Entry, entry, interleave, is_end
from infra.inspect.pace import Pace
from infra.inspect.replay_json import JsonLines
from infra.inspect.replay_lines import EXPIRED, NOT_THE_SAME, Lines
from shared.domain import subjects
from shared.domain.events import AnswerEvent, Fact, encode, name_of
from shared.domain.subjects import AnswerId, Sequence
from shared.log.recorded import record
from tests.support import examples

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOLD = """\
CHATS         1  2026-01-01T12:00:00.000Z  chat-created                                owner local
CHATS         2  2026-01-01T12:00:00.005Z  message-requested       00000001            model demo/5x0ms
        │ question 1
TOKENS      100  2026-01-01T12:00:00.010Z  generation-started      00000001  1         model demo/5x0ms, worker worker-a, request 2
TOKENS      101  2026-01-01T12:00:00.020Z  token-emitted           00000001  1.1       and following
        │ Hello
        └ 2 events in 0.010 s, up to 1.2, sequence 102
TOKENS      103  2026-01-01T12:00:00.040Z  generation-ended        00000001  1.2       outcome completed, finish reason stop
CHATS         3  2026-01-01T12:00:00.500Z  answer-completed        00000001  1.1       model demo/5x0ms, finish reason stop, \
characters 5, input tokens 3, output tokens 5
"""


def fact(event: Fact, sequence: int, milliseconds: int = 0) -> Entry:
    return _entry(subjects.fact(event.chat, name_of(event)), encode(event), sequence, milliseconds)


def of_answer(
    event: AnswerEvent, sequence: int, milliseconds: int = 0, answer: AnswerId | None = None
) -> Entry:
    return _entry(subjects.answer(answer or examples.answer()), encode(event), sequence, milliseconds)


def _entry(subject: str, data: bytes, sequence: int, milliseconds: int) -> Entry:
    return entry(record(subject, Sequence(sequence), NOON + timedelta(milliseconds=milliseconds), data))


def an_answer(text: tuple[str, ...] = ("Hel", "lo"), at: int = 10) -> list[Entry]:
    """From its start to its end, one event every 10 ms."""
    tokens = [examples.token(index, said) for index, said in enumerate(text, start=1)]
    events: list[AnswerEvent] = [examples.started(), *tokens, examples.ended(last_index=len(text))]
    return [of_answer(event, 100 + number, at + number * 10) for number, event in enumerate(events)]


def a_chat(text: str = "Hello") -> list[Entry]:
    return [
        fact(examples.chat_created(), 1),
        fact(examples.message_requested(), 2, 5),
        fact(examples.answer_completed(text=text), 3, 500),
    ]


def lines_of(entries: list[Entry], *, each_token: bool = False) -> str:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=200, highlight=False), each_token=each_token)
    for one in entries:
        lines.show(one)
    lines.end()
    return out.getvalue()


# --- order ---------------------------------------------------------------------------------------------


def test_an_answer_stands_between_its_request_and_its_end() -> None:
    facts, answer = a_chat(), an_answer()
    assert list(interleave(facts, answer)) == [*facts[:2], *answer, facts[2]]


def test_what_came_in_the_middle_of_an_answer_stands_there() -> None:
    facts = a_chat()
    cancel = fact(examples.cancel_requested(), 4, 25)
    shown = list(interleave([*facts[:2], cancel], an_answer()))
    assert [one.stored.sequence for one in shown] == [1, 2, 100, 101, 4, 102, 103]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["request", "end", "cancel"])), max_size=10),
    st.lists(st.tuples(st.integers(1, 4), st.integers(-50, 50)), max_size=20),
)
def test_whatever_the_clocks_say_nothing_is_lost_and_each_order_is_kept(
    facts: list[tuple[int, str]], events: list[tuple[int, int]]
) -> None:
    makes: dict[str, Callable[[int], Fact]] = {
        "request": examples.message_requested,
        "end": examples.answer_completed,
        "cancel": examples.cancel_requested,
    }
    chat = [fact(makes[kind](number), at, at) for at, (number, kind) in enumerate(facts, start=1)]
    tokens = [
        of_answer(examples.token(1), at, time, examples.answer(number))
        for at, (number, time) in enumerate(events, start=1)
    ]
    shown = list(interleave(chat, tokens))
    assert [one for one in shown if one in chat] == chat
    assert len(shown) == len(chat) + len(tokens)
    for answer in map(examples.answer, range(1, 5)):
        mine = [one for one in shown if one.answer == answer]
        assert [one for one in mine if one in tokens] == [one for one in tokens if one.answer == answer]
        kinds = ["end" if is_end(one) else "token" if one in tokens else "request" for one in mine]
        if "request" in kinds and "token" in kinds:
            assert kinds.index("request") < kinds.index("token")


def test_events_of_no_request_come_at_the_end() -> None:
    lost = of_answer(examples.token(7), 200, -1000, examples.answer(7))
    assert list(interleave(a_chat(), [lost]))[-1] == lost


# --- in words --------------------------------------------------------------------------------------------


def test_a_chat_is_told_line_by_line_and_its_answers_stream() -> None:
    assert lines_of(list(interleave(a_chat(), an_answer()))) == TOLD


def test_each_token_can_have_a_line() -> None:
    told = lines_of(an_answer(("a\n", "\x1b[2J")), each_token=True)
    assert '1.1       "a\\n"' in told
    assert '1.2       "\\u001b[2J"' in told
    assert "└" not in told


def test_the_text_of_an_answer_whose_tokens_have_expired_is_shown_and_said_to_be_that() -> None:
    told = lines_of(a_chat("Hello\nyou"))
    assert f"        {EXPIRED}\n        │ Hello\n        │ you\n" in told


def test_a_text_that_the_tokens_do_not_make_is_shown_too() -> None:
    told = lines_of(list(interleave(a_chat("Hello"), an_answer()[2:])))
    assert f"        {NOT_THE_SAME}\n        │ Hello\n" in told


def test_a_text_that_the_tokens_make_is_not_shown_twice() -> None:
    assert lines_of(list(interleave(a_chat("Hello"), an_answer()))).count("Hello") == 1


@pytest.mark.parametrize(
    "data", [b"\xff\x00 no json" + b"x" * 1000, b'{"type":"of-a-later-day.v9"}', b"[" * 5000, b""]
)
def test_what_cannot_be_decoded_is_shown_as_it_is_within_a_bound(
    data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    for subject in (subjects.fact(examples.CHAT, "chat-created"), subjects.answer(examples.answer())):
        one = _entry(subject, data, 7, 0)
        told = lines_of([one])
        assert "undecodable" in told
        assert repr(data[:20])[2:-1] in told
        assert len(told) < 1500
        JsonLines().show(one)
        line = json.loads(capsys.readouterr().out)
        assert (line["sequence"], line["bytes"]) == (7, len(data))
        assert line["undecodable"]


# --- as JSON -----------------------------------------------------------------------------------------------


def test_json_lines_hold_the_events_as_they_are_stored(capsys: pytest.CaptureFixture[str]) -> None:
    shown = list(interleave(a_chat(), an_answer()))
    for one in shown:
        JsonLines().show(one)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == [json.loads(one.stored.data) for one in shown]
    assert (lines[0]["stream"], lines[0]["sequence"], lines[0]["time"]) == (
        "CHATS",
        1,
        "2026-01-01T12:00:00.000Z",
    )


# --- pace ----------------------------------------------------------------------------------------------------


async def test_an_answer_keeps_its_pace_and_between_answers_no_time_passes() -> None:
    slept: list[float] = []
    clock = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        slept.append(round(seconds, 6))

    pace = Pace(2.0, now=lambda: clock, sleep=sleep)
    long_ago = fact(examples.chat_created(), 1, -3_600_000)
    for one in [
        long_ago,
        *an_answer(at=0),
        fact(examples.answer_completed(), 9, 3_600_000),
        *an_answer(at=9_000_000),
    ]:
        await pace.wait_for_turn(one)
    assert slept == [0.005, 0.005, 0.005] * 2


# --- where the log is ------------------------------------------------------------------------------------------
