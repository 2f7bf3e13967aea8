"""The hot log: frames, positions and cursors, without a network."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.api.streaming import sse
from services.api.streaming.hot_log import HotAnswer, HotLog
from services.api.streaming.sse import Cursor
from shared.domain import subjects
from shared.domain.events import AnswerEvent, TokenEmitted, encode
from shared.domain.subjects import Attempt, Index, Sequence
from shared.log.recorded import Recorded, record
from shared.settings import Settings
from shared.sse_decoder import SseDecoder
from tests.support import examples


def hot(*events: AnswerEvent) -> HotAnswer:
    answer = HotAnswer(examples.answer())
    for event, sequence in examples.numbered(*events):
        assert answer.add(event, sequence)
    return answer


def stored(event: AnswerEvent, sequence: int) -> Recorded:
    return record(subjects.answer(examples.answer()), Sequence(sequence), datetime.now(UTC), encode(event))


class Reader:
    """A client, as the contract has it: what it shows after the frames that it was given."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor: str | None = None
        self.indexes: list[int] = []

    def read(self, data: bytes) -> None:
        for frame in data.decode().split("\n\n"):
            fields = dict(line.partition(": ")[::2] for line in frame.splitlines() if line and line[0] != ":")
            if "event" in fields:
                self._apply(fields["event"], json.loads(fields["data"]), fields.get("id"))

    def _apply(self, event: str, data: dict[str, Any], id_: str | None) -> None:
        self.cursor = self.cursor if id_ is None else id_
        if event == "token":
            assert id_ is not None
            self.text += data["text"]
            self.indexes.append(int(id_.partition(".")[2]))
        if event == "reset":
            self.text = ""
        if event == "snapshot":
            self.text, self.indexes = data["text"], list(range(1, data["index"] + 1))


@st.composite
def answers(draw: st.DrawFn) -> list[AnswerEvent]:
    """Attempts that go on or begin again, with token events numbered across them."""
    events: list[AnswerEvent] = []
    index = 0
    for attempt in range(1, draw(st.integers(1, 4)) + 1):
        events.append(examples.started(attempt))
        if attempt > 1 and draw(st.booleans()):
            events.append(examples.reset(attempt))
        for _ in range(draw(st.integers(0, 6))):
            index += 1
            text = draw(st.text(min_size=1, max_size=4))
            events.append(TokenEmitted(attempt=Attempt(attempt), index=Index(index), text=text))
    return events


@given(answers(), st.data())
def test_resume_from_any_sequence_loses_and_repeats_nothing(
    events: list[AnswerEvent], data: st.DataObject
) -> None:
    answer = hot(*events)
    whole = Reader()
    whole.read(b"".join(answer.frames))

    reader, position = Reader(), 0
    for _ in range(
        data.draw(st.integers(0, 5))
    ):  # cut after some more frames, and connect again with what it has
        until = data.draw(st.integers(position, len(answer.frames)))
        reader.read(b"".join(answer.frames[position:until]))
        cursor = sse.parse_cursor(reader.cursor) if reader.cursor else None
        again = answer.position_after(cursor) if cursor else 0
        assert again is not None
        position = again
    reader.read(b"".join(answer.frames[position:]))
    assert reader.text == whole.text
    assert reader.indexes == whole.indexes == list(range(1, answer.last_index + 1))


@given(answers(), st.integers(0, 40))
def test_the_cursor_at_a_position_is_that_of_the_last_token_or_reset_before_it(
    events: list[AnswerEvent], position: int
) -> None:
    answer = hot(*events)
    reader = Reader()
    reader.read(b"".join(answer.frames[:position]))
    assert reader.cursor == (str(found) if (found := answer.cursor_at(position)) else None)


def test_a_cursor_that_the_log_does_not_know_has_no_position() -> None:
    answer = hot(examples.started(), examples.token(1), examples.started(2), examples.token(2, attempt=2))
    assert answer.position_after(Cursor(Attempt(1), Index(2))) is None
    assert answer.position_after(Cursor(Attempt(2), Index(3))) is None
    assert answer.position_after(Cursor(Attempt(2), None)) is None
    assert answer.position_after(Cursor(Attempt(2), Index(2))) == len(answer.frames)


def test_a_reset_that_the_log_lost_is_taken_back_by_a_snapshot() -> None:
    known = hot(examples.started(), examples.token(1), examples.started(2), examples.reset(2))
    after_reset = known.cursor_at(len(known.frames))
    assert after_reset == Cursor(Attempt(2), Index(1), is_reset=True)
    assert known.position_after(after_reset) == len(known.frames)
    without = hot(examples.started(), examples.token(1))
    assert without.position_after(after_reset) is None
    assert f"id: {after_reset}\n".encode() in sse.snapshot(known.state())


def test_a_missing_index_is_seen_and_a_known_sequence_is_passed_over() -> None:
    answer = hot(examples.started(), examples.token(1))
    assert answer.add(examples.token(1), Sequence(2))
    assert not answer.add(examples.token(3), Sequence(9))
    assert answer.last_index == 1


def make_hot_log(**settings: Any) -> HotLog:
    return HotLog(None, Settings(**settings))  # type: ignore[arg-type] # reads need a log, these tests do not read


async def test_done_comes_only_after_the_fact_and_after_all_that_came_before_it() -> None:
    hot_log = make_hot_log()
    hot_log.follow_tokens(stored(examples.started(), 1))
    answer = hot_log.get(examples.answer())
    assert answer is not None
    hot_log.record_end(examples.answer_completed(1, "word1 "), Sequence(7))
    assert b"event: done" not in b"".join(answer.frames)
    hot_log.follow_tokens(stored(examples.token(1), 2))
    assert b"event: done" not in b"".join(answer.frames), "a reset may still come"
    hot_log.follow_tokens(stored(examples.ended(), 3))
    assert answer.frames[-1].startswith(b"id: 1.end\nevent: done\n")
    assert b'"cursor":"c7"' in answer.frames[-1]


async def test_the_end_on_the_answers_subject_is_no_done_yet() -> None:
    hot_log = make_hot_log()
    events: list[AnswerEvent] = [examples.started(), examples.token(1), examples.ended()]
    for number, event in enumerate(events, 1):
        hot_log.follow_tokens(stored(event, number))
    answer = hot_log.get(examples.answer())
    assert answer is not None
    assert not answer.done


async def test_watchers_are_woken_when_what_they_watch_is_no_longer_to_be_trusted() -> None:
    hot_log = make_hot_log()
    hot_log.follow_tokens(stored(examples.started(), 1))
    answer = hot_log.get(examples.answer())
    assert answer is not None
    waiting = asyncio.create_task(answer.wait_for_change())
    await asyncio.sleep(0)
    hot_log.drop_all()
    await waiting
    assert answer.stale
    assert hot_log.get(examples.answer()) is None


async def test_an_answer_whose_beginning_was_missed_is_not_served_from_memory() -> None:
    hot_log = make_hot_log()
    hot_log.follow_tokens(stored(examples.token(5), 5))
    assert hot_log.get(examples.answer()) is None


async def test_an_answer_that_is_asked_for_here_is_served_from_memory_from_its_first_event() -> None:
    hot_log = make_hot_log()
    hot_log.begin(examples.answer())
    answer = hot_log.get(examples.answer())
    assert answer is not None
    hot_log.follow_tokens(stored(examples.started(), 1))
    hot_log.follow_tokens(stored(examples.token(1), 2))
    hot_log.begin(examples.answer())  # the same request once more
    assert hot_log.get(examples.answer()) is answer
    assert [frame.partition(b"event: ")[2].split()[0] for frame in answer.frames] == [b"started", b"token"]


async def test_an_answer_that_was_begun_elsewhere_before_it_was_asked_for_here_is_read_from_the_log() -> None:
    hot_log = make_hot_log()
    hot_log.begin(examples.answer())
    answer = hot_log.get(examples.answer())
    assert answer is not None
    hot_log.follow_tokens(stored(examples.token(1), 2))
    assert answer.stale
    assert hot_log.get(examples.answer()) is None


async def test_answers_that_only_wait_count_too() -> None:
    hot_log = make_hot_log(hot_log_max_bytes=20_000)
    for number in range(1, 200):
        hot_log.begin(examples.answer(number))
    assert 0 < hot_log.size_bytes <= 22_000
    hot_log.drop_chat(examples.CHAT)
    assert hot_log.size_bytes == len(hot_log) == 0


async def test_the_hot_log_stays_within_its_bytes() -> None:
    hot_log = make_hot_log(hot_log_max_bytes=20_000)
    for number in range(1, 200):
        subject = subjects.answer(examples.answer(number))
        for event in (examples.started(), examples.token(1, "x" * 100)):
            hot_log.follow_tokens(record(subject, Sequence(number), datetime.now(UTC), encode(event)))
        assert hot_log._size_bytes <= 20_000
    assert hot_log.get(examples.answer(199)) is not None
    assert hot_log.get(examples.answer(1)) is None


def test_frames_are_what_the_contract_shows() -> None:
    assert sse.preamble(1000) == b"retry: 1000\n\n"
    assert (
        sse.frame_of(examples.token(2, "lo"), Index(2)) == b'id: 1.2\nevent: token\ndata: {"text":"lo"}\n\n'
    )
    assert sse.frame_of(examples.reset(), Index(3)) == b'id: 2.3r\nevent: reset\ndata: {"attempt":2}\n\n'
    assert sse.frame_of(examples.reset(), Index(0)) == b'event: reset\ndata: {"attempt":2}\n\n'
    assert sse.frame_of(examples.handed_over(), Index(3)) is None


@given(st.integers(1, 10**8), st.integers(1, 10**15))
def test_a_cursor_survives_its_text(attempt: int, index: int) -> None:
    token, end = Cursor(Attempt(attempt), Index(index)), Cursor(Attempt(attempt), None)
    for cursor in (token, end, Cursor(Attempt(attempt), Index(index), is_reset=True)):
        assert sse.parse_cursor(str(cursor)) == cursor


def test_what_is_no_cursor_is_none() -> None:
    for text in (
        "",
        "1",
        "1.",
        ".1",
        "0.1",
        "1.0",
        "1.x",
        "-1.1",
        "1.1.1",
        " 1.1",
        "1.1\n",
        "1.r",
        "1.0r",
        "1.endr",
        "١.١",
        "c5",
    ):
        assert sse.parse_cursor(text) is None


def test_the_cursor_of_a_snapshot_is_that_of_its_last_token() -> None:
    answer = hot(examples.started(), examples.token(1), examples.started(2))
    frame = sse.snapshot(answer.state())
    assert frame.startswith(b"id: 1.1\n")
    assert answer.position_after(Cursor(Attempt(1), Index(1))) is not None


def test_after_a_snapshot_of_nothing_a_client_no_longer_has_the_cursor_of_what_was_lost() -> None:
    """With the old one it would later go on after tokens that it had to drop."""
    snapshot = sse.snapshot(hot(examples.started()).state())
    assert next(iter(SseDecoder().feed(snapshot))).id == ""
