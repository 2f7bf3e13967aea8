"""The client's pure parts: decoding, the position, the transcript. Any split of the bytes, any cut, any repeat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unspool_client import (
    Chat,
    Done,
    Message,
    Patience,
    Reset,
    Snapshot,
    Started,
    StreamEvent,
    Token,
    Transcript,
)
from unspool_client.errors import Conflict, Missing, ProblemDocument, Refused, Unauthorized, refusal
from unspool_client.events import Breach, ToolCallFragment, decode
from unspool_client.patience import Backoff
from unspool_client.position import Position
from unspool_client.sse_decoder import EVENT_MAX_BYTES, EventTooLong, Frame, SseDecoder

from tests.support import streams


class Reader:
    """What the client does between connections, without the connections."""

    def __init__(self) -> None:
        self.position = Position()
        self.transcript = Transcript()
        self.events: list[StreamEvent] = []

    def read(self, *chunks: bytes) -> "Reader":
        decoder = SseDecoder()
        for chunk in chunks:
            for frame in decoder.feed(chunk):
                event = decode(frame)
                if event is not None and self.position.take(event):
                    self.events.append(event)
                    self.transcript.apply(event)
        return self


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True)]


def line_ends(data: bytes, end: bytes) -> bytes:
    return data.replace(b"\n", end)


# --- the bytes -----------------------------------------------------------------------------------------


@given(
    streams.ATTEMPTS, st.lists(st.integers(0, 10_000), max_size=10), st.sampled_from([b"\n", b"\r\n", b"\r"])
)
def test_every_split_of_the_bytes_gives_the_same_events(
    attempts: list[streams.Attempt], cuts: list[int], end: bytes
) -> None:
    data = streams.resumed(streams.answer(attempts), None)
    whole = Reader().read(data)
    split = Reader().read(*pieces(line_ends(data, end), cuts))
    assert split.events == whole.events


@given(streams.ATTEMPTS, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_byte_by_byte_is_as_good_as_whole(attempts: list[streams.Attempt], end: bytes) -> None:
    data = line_ends(streams.resumed(streams.answer(attempts), None), end)
    assert Reader().read(*[data[at : at + 1] for at in range(len(data))]).events == Reader().read(data).events


def test_an_event_ends_at_its_empty_line_without_waiting_for_more() -> None:
    decoder = SseDecoder()
    assert list(decoder.feed(b"id: 1.1\r\nevent: token\r\ndata: {}\r\n\r")) == [Frame("token", "{}", "1.1")]
    assert list(decoder.feed(b"\ndata: x\r\rdata: y")) == [Frame("message", "x")]


def test_an_event_that_the_stream_was_cut_off_in_is_none() -> None:
    assert list(SseDecoder().feed(streams.token(1)[:-1])) == []


def test_only_cr_and_lf_end_a_line() -> None:
    (frame,) = SseDecoder().feed("data: a\u2028b\u0085c\u2029d\x0be\x0cf\n\n".encode())
    assert frame.data == "a\u2028b\u0085c\u2029d\x0be\x0cf"


def test_fields_as_the_specification_has_them() -> None:
    decoder = SseDecoder()
    data = b"\xef\xbb\xbf: comment\nretry: 20\nretry: x\nid: a\0b\nunknown: 1\ndata\ndata:  x\ndata:y\n\nevent: none\n\n"
    assert list(decoder.feed(data)) == [Frame("message", "\n x\ny")]
    assert decoder.retry_milliseconds == 20


def test_what_has_no_end_is_bounded() -> None:
    decoder = SseDecoder()
    assert list(decoder.feed(b"x" * EVENT_MAX_BYTES)) == []
    with pytest.raises(EventTooLong):
        list(decoder.feed(b"x"))


# --- cut anywhere and resumed --------------------------------------------------------------------------


@given(streams.ATTEMPTS, st.lists(st.integers(0, 10_000), max_size=8))
def test_cut_at_any_byte_and_resumed_it_says_the_same_and_no_token_comes_twice(
    attempts: list[streams.Attempt], cuts: list[int]
) -> None:
    sent = streams.answer(attempts)
    reader = Reader()
    for cut in cuts:
        data = streams.resumed(sent, reader.position.cursor)
        if reader.transcript.done is None:
            reader.read(data[: cut % (len(data) + 1)])
    if reader.transcript.done is None:
        reader.read(streams.resumed(sent, reader.position.cursor))
    assert reader.transcript.text == sent[-1].text
    indexes = [event.index for event in reader.events if isinstance(event, Token)]
    assert indexes == list(range(1, len(indexes) + 1))
    assert sum(isinstance(event, Done) for event in reader.events) == 1
    assert reader.events == Reader().read(streams.resumed(sent, None)).events


@given(streams.ATTEMPTS, st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=5))
def test_a_server_that_repeats_itself_changes_nothing(
    attempts: list[streams.Attempt], repeats: list[tuple[int, int]]
) -> None:
    sent = streams.answer(attempts)
    body = [one.data for one in sent[:-1] if one.data.startswith(b"id: ")]
    reader = Reader().read(b"".join(one.data for one in sent[:-1]))
    for start, end in repeats:
        reader.read(*body[start:end])
    assert reader.transcript.text == sent[-1].text
    reader.read(sent[-1].data)
    assert reader.transcript.done is not None


@given(streams.ATTEMPTS, st.integers(0, 30))
def test_a_token_that_is_missing_is_never_passed_over(attempts: list[streams.Attempt], lost: int) -> None:
    sent = streams.answer(attempts)
    tokens = [place for place, one in enumerate(sent[:-1]) if one.data.startswith(b"id: ")]
    if not tokens:
        return
    place = tokens[lost % len(tokens)]
    reader = Reader()
    with pytest.raises(Breach):
        reader.read(*(one.data for number, one in enumerate(sent) if number != place))
    reader.read(streams.resumed(sent, reader.position.cursor))
    assert reader.transcript.text == sent[-1].text


# --- the position ----------------------------------------------------------------------------------------


def test_a_snapshot_replaces_what_there_was_and_tokens_go_on_from_it() -> None:
    reader = Reader().read(streams.token(1, "a"), streams.token(2, "b"), streams.snapshot("xyz", 7, 2))
    assert (reader.transcript.text, reader.position.cursor) == ("xyz", "2.7")
    reader.read(streams.token(8, "!", 2), streams.done(8, 2))
    assert reader.transcript.text == "xyz!"


def test_a_snapshot_of_a_log_that_lost_its_tail_goes_back() -> None:
    reader = Reader().read(*(streams.token(index) for index in (1, 2, 3)), streams.snapshot("1 ", 1))
    reader.read(streams.token(2, "other", 2))
    assert reader.transcript.text == "1 other"


def test_a_snapshot_of_nothing_begins_at_the_beginning() -> None:
    reader = Reader().read(streams.token(1), streams.snapshot("", 0))
    assert reader.position.cursor is None
    assert reader.read(streams.token(1, "new", 2)).transcript.text == "new"


def test_a_known_index_of_a_later_attempt_is_not_a_repeat_but_another_text() -> None:
    reader = Reader().read(streams.token(1), streams.token(2))
    with pytest.raises(Breach):
        reader.read(streams.token(2, "other", 2))


def test_a_reset_comes_again_after_a_cut_but_not_to_the_caller() -> None:
    reader = Reader().read(streams.started(1), streams.token(1), streams.started(2), streams.reset(2))
    assert reader.position.cursor == "1.1"
    reader.read(streams.started(2), streams.reset(2), streams.token(2, "new", 2))
    assert [type(event) for event in reader.events] == [Started, Token, Started, Reset, Token]


def test_from_a_cursor_that_only_the_server_can_read_all_is_new() -> None:
    position = Position("of-a-later-version:17")
    assert position.take(Token("1.40", 1, 40, text="x"))
    with pytest.raises(Breach):
        position.take(Token("1.42", 1, 42, text="x"))


def test_an_end_before_the_last_token_is_no_end() -> None:
    with pytest.raises(Breach):
        Reader().read(streams.token(1), streams.done(2))


@pytest.mark.parametrize(
    "frame",
    [
        Frame("token", "{}", "nonsense"),
        Frame("token", "{}", None),
        Frame("token", "no json", "1.1"),
        Frame("done", '{"status":"of a later day","last_index":0,"cursor":"c1"}', "1.end"),
        Frame("snapshot", '{"text":3}', "1.1"),
    ],
)
def test_what_cannot_be_read_is_not_passed_over(frame: Frame) -> None:
    with pytest.raises(Breach):
        decode(frame)


def test_an_event_of_a_later_version_is_passed_over() -> None:
    assert decode(Frame("weather", '{"sun":true}', "1.1")) is None


# --- the transcript ----------------------------------------------------------------------------------------


def test_fragments_of_tool_calls_are_put_together() -> None:
    def fragment(index: int, **fields: str) -> Token:
        return Token(f"1.{index}", 1, index, tool_call=ToolCallFragment(**{"index": 0} | fields))  # type: ignore[arg-type]

    transcript = Transcript()
    for event in (
        fragment(1, id="call", name="find"),
        fragment(2, arguments='{"a"'),
        fragment(3, arguments=":1}"),
    ):
        transcript.apply(event)
    assert transcript.tool_calls == (ToolCallFragment(0, "call", "find", '{"a":1}'),)
    assert transcript.apply(Reset(2)).tool_calls == ()


def test_reasoning_is_kept_apart() -> None:
    transcript = Transcript().apply(Started(1, "a/model")).apply(Token("1.1", 1, 1, reasoning="hm"))
    transcript.apply(Token("1.2", 1, 2, text="yes"))
    assert (transcript.model, transcript.reasoning, transcript.text) == ("a/model", "hm", "yes")
    transcript.apply(Snapshot(1, 2, text="yes", reasoning="hm, "))
    assert (transcript.reasoning, transcript.text) == ("hm, ", "yes")


# --- documents, refusals, patience ---------------------------------------------------------------------------


def test_the_branch_of_a_chat_leads_to_its_newest_message() -> None:
    def node(id_: str, parent: str | None) -> Message:
        return Message(id=id_, role="user", parent_id=parent)

    nodes = (node("q1", None), node("a1", "q1"), node("q2", "a1"), node("q1b", None), node("a1b", "q1b"))
    chat = Chat(id="chat", cursor="c1", messages=nodes)
    assert [message.id for message in chat.branch()] == ["q1b", "a1b"]
    assert Chat(id="chat", cursor="c1").branch() == []
    assert Chat(id="chat", cursor="c1", messages=(node("x", "x"),)).branch() == [node("x", "x")]


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorized), (403, Unauthorized), (404, Missing), (409, Conflict), (422, Refused)],
)
def test_a_refusal_is_of_the_class_that_its_caller_decides_on(status: int, kind: type[Refused]) -> None:
    error = refusal(status, ProblemDocument(title="No", detail="not this"))
    assert type(error) is kind
    assert str(error) == "No: not this"


def test_waits_double_up_to_a_bound_and_begin_again_after_success() -> None:
    backoff = Backoff(Patience(first_wait_seconds=1, longest_wait_seconds=5), jitter=lambda: 1.0)
    assert [backoff.next_wait_seconds() for _ in range(5)] == [1, 2, 4, 5, 5]
    backoff.succeeded()
    backoff.asked_for(100)
    assert backoff.next_wait_seconds() == pytest.approx(0.1)


@given(st.floats(0, 1), st.integers(1, 2000))
def test_jitter_takes_at_most_half(jitter: float, failures: int) -> None:
    backoff = Backoff(Patience(first_wait_seconds=1, longest_wait_seconds=8), jitter=lambda: jitter)
    for _ in range(failures):
        wait = backoff.next_wait_seconds()
        assert 0.5 <= wait <= 8


def test_retry_after_is_honoured_within_its_bound() -> None:
    backoff = Backoff(Patience(first_wait_seconds=1, retry_after_max_seconds=60), jitter=lambda: 0.0)
    assert backoff.next_wait_seconds(7) == 7
    assert backoff.next_wait_seconds(3600) == 60
