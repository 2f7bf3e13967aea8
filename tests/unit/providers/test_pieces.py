"""The same bytes mean the same, in whatever pieces they come, and whatever follows them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.provider_replies import Api, heard
from tests.support.provider_scripts import anthropic_events, event, openai_events

TEXTS = ("Žlu", "ť ", "\u2028", "猫", "\x85 \U0001f408", '"\\\n')
RAW = "".join(TEXTS)
WHOLE_CHUNK = {"choices": [{"index": 0, "message": {"content": RAW}, "finish_reason": "stop"}]}
WHOLE_MESSAGE = {"type": "message", "content": [{"type": "text", "text": RAW}], "stop_reason": "end_turn"}


def unescaped(found: object) -> bytes:
    return f"data: {json.dumps(found, ensure_ascii=False)}\n\n".encode()


def choice(text: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


STREAMS: dict[str, tuple[Api, bytes]] = {
    "openai": ("openai", b"".join(openai_events(*TEXTS))),
    "openai, CRLF": ("openai", b"".join(openai_events(*TEXTS)).replace(b"\n", b"\r\n")),
    "openai, CR": ("openai", b"".join(openai_events(*TEXTS)).replace(b"\n", b"\r")),
    "openai, UTF-8": ("openai", b"".join(unescaped(choice(text)) for text in TEXTS) + event("[DONE]")),
    "openai, BOM and comments": ("openai", b"\xef\xbb\xbf: hi\n\n" + b": x\n".join(openai_events(*TEXTS))),
    "openai, cut": ("openai", b"".join(openai_events(*TEXTS))[:400]),
    "openai, error": ("openai", b"".join(openai_events("a", done=False)[:2]) + event({"error": "no luck"})),
    "openai, nonsense": ("openai", b"".join(openai_events("a")[:2]) + b"data: {oh\n\n" + event("[DONE]")),
    "openai, document": ("openai", json.dumps(WHOLE_CHUNK, indent=1, ensure_ascii=False).encode()),
    "openai, nothing": ("openai", b""),
    "anthropic": ("anthropic", b"".join(anthropic_events(*TEXTS))),
    "anthropic, CRLF": ("anthropic", b"".join(anthropic_events(*TEXTS)).replace(b"\n", b"\r\n")),
    "anthropic, cut": ("anthropic", b"".join(anthropic_events(*TEXTS))[:500]),
    "anthropic, document": ("anthropic", json.dumps(WHOLE_MESSAGE, ensure_ascii=False).encode()),
}
every_stream = pytest.mark.parametrize(("api", "data"), STREAMS.values(), ids=STREAMS.keys())


@every_stream
def test_byte_by_byte_is_as_good_as_whole(api: Api, data: bytes) -> None:
    assert heard(api, [data[at : at + 1] for at in range(len(data))]) == heard(api, [data])


@every_stream
def test_every_split_in_two_is_as_good_as_whole(api: Api, data: bytes) -> None:
    whole = heard(api, [data])
    assert all(heard(api, filter(None, (data[:at], data[at:]))) == whole for at in range(len(data) + 1))


@every_stream
@given(st.data())
def test_any_pieces_are_as_good_as_the_whole(api: Api, data: bytes, choices: st.DataObject) -> None:
    cuts = sorted(choices.draw(st.sets(st.integers(1, max(1, len(data) - 1)), max_size=30)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert heard(api, filter(None, pieces)) == heard(api, [data])


@pytest.mark.parametrize("name", ["openai", "openai, CRLF", "openai, UTF-8", "anthropic", "anthropic, CRLF"])
@given(st.binary(max_size=60), st.integers(0, 30))
def test_what_follows_the_end_changes_nothing(name: str, trailing: bytes, cut: int) -> None:
    api, data = STREAMS[name]
    whole = heard(api, [data])
    assert whole.text == RAW
    assert heard(api, [data + trailing]) == whole
    assert heard(api, [data[:-cut] if cut else data, data[len(data) - cut :] + trailing]) == whole
