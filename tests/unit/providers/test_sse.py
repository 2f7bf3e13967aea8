"""Events come out of bytes as the specification of event streams says, in whatever pieces the bytes come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.providers import sse
from services.generator.providers.sse import Body
from shared.domain.errors import ProviderInterrupted
from shared.sse_decoder import Frame, SseDecoder

LINE_ENDS = pytest.mark.parametrize("end", ["\n", "\r", "\r\n"], ids=["LF", "CR", "CRLF"])


def event(data: str, name: str = "message") -> Frame:
    return Frame(name, data)


def decoded(*chunks: bytes) -> list[Frame]:
    decoder = SseDecoder()
    events = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    return [*events, *decoder.end()]


def body_of(*chunks: bytes) -> list[Frame]:
    body = Body()
    events = [frame for chunk in chunks for frame in body.feed(chunk)]
    return [*events, *body.end()]


def in_single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@LINE_ENDS
def test_every_line_end_ends_a_line(end: str) -> None:
    text = f"event: greeting{end}data: one{end}data: two{end}{end}data: three{end}{end}"
    assert decoded(text.encode()) == [event("one\ntwo", "greeting"), event("three")]


@LINE_ENDS
def test_a_line_end_split_over_two_chunks_is_one_line_end(end: str) -> None:
    text = f"data: one{end}data: two{end}{end}"
    assert decoded(*in_single_bytes(text.encode())) == [event("one\ntwo")]


def test_an_event_is_given_at_its_last_byte_and_not_when_more_comes() -> None:
    decoder = SseDecoder()
    assert list(decoder.feed(b"data: one\r\r")) == [event("one")]
    assert list(decoder.feed(b"\ndata: two\r\n\r")) == [event("two")]
    assert list(decoder.feed(b"\n")) == []


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85"])
def test_what_python_calls_a_line_end_does_not_end_a_line(separator: str) -> None:
    assert decoded(f"data: one{separator}data: two\n\n".encode()) == [event(f"one{separator}data: two")]


def test_a_byte_order_mark_is_not_a_part_of_the_first_field() -> None:
    data = b"\xef\xbb\xbfdata: one\n\n"
    assert decoded(data) == decoded(*in_single_bytes(data)) == [event("one")]
    assert body_of(data) == body_of(*in_single_bytes(data)) == [event("one")]


def test_comments_retries_and_unknown_fields_are_passed_over() -> None:
    data = b": OPENROUTER PROCESSING\n\nid: 3\nretry: 10\nfield\ndata: one\nx: y\n\n:\n\n"
    assert decoded(data) == [Frame("message", "one", "3")]


def test_one_space_after_the_colon_is_not_a_part_of_the_data_and_none_is_needed() -> None:
    assert decoded(b"data:one\n\ndata:  two\n\ndata\n\n") == [
        event("one"),
        event(" two"),
        event(""),
    ]


def test_the_last_event_needs_no_empty_line_and_no_line_end() -> None:
    assert decoded(b"data: one\n") == decoded(b"data: one") == [event("one")]


def test_a_character_split_over_two_chunks_is_one_character() -> None:
    data = "data: žluťoučký 猫 🐈\n\n".encode()
    assert decoded(*in_single_bytes(data)) == [event("žluťoučký 猫 🐈")]


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    assert decoded(b"data: a\xffb\n\n") == [event("a\ufffdb")]


def test_an_event_without_data_is_none_and_its_name_goes_to_no_other() -> None:
    assert decoded(b"event: ping\n\ndata: one\n\n") == [event("one")]


@given(
    st.lists(st.sampled_from(["data: a", "data", "event: b", ": c", "", "猫", "\r", "\n", "\r\n", "\ufeff"])),
    st.data(),
)
def test_pieces_do_not_matter(parts: list[str], choices: st.DataObject) -> None:
    data = "".join(parts).encode()
    cuts = sorted(choices.draw(st.sets(st.integers(0, len(data)))))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert decoded(*pieces) == decoded(data) == decoded(*in_single_bytes(data))
    assert body_of(*pieces) == body_of(data) == body_of(*in_single_bytes(data))


@pytest.mark.parametrize(
    "endless", [b"data: x", b"data: x\n", b": x", b'{"a":'], ids=["line", "event", "comment", "document"]
)
def test_what_never_ends_is_given_up(endless: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_MAX_BYTES", 100)
    with pytest.raises(ProviderInterrupted, match="more than 100 bytes"):
        body_of(*[endless] * 100)


def test_events_before_one_that_is_too_long_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "EVENT_MAX_BYTES", 100)
    events = Body().feed(b"data: one\n\ndata: " + b"x" * 100 + b"\n\n")
    assert next(events) == event("one")
    with pytest.raises(ProviderInterrupted):
        next(events)


@pytest.mark.parametrize("start", [b"", b"\n \t", b"\xef\xbb\xbf"])
def test_a_document_in_place_of_a_stream_is_one_event(start: bytes) -> None:
    document = b'{\n  "a": "data: b"\n\n}\n'
    for chunks in ([start + document], in_single_bytes(start + document)):
        assert body_of(*chunks) == [event('{\n  "a": "data: b"\n\n}\n')]


def test_an_empty_body_has_no_events() -> None:
    assert body_of() == body_of(b"\n\n") == []
