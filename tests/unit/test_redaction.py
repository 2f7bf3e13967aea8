"""Redaction keeps lengths and shapes, and lets nothing through that was said."""

import typing
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from infra.transfer.redaction import FILLER, mask, redact, unknown_fields
from shared.domain.answer import fold
from shared.domain.events import (
    AnswerEvent,
    Fact,
    GenerationEnded,
    TextPart,
    TokenEmitted,
    ToolCallFragment,
    decode_answer_event,
    decode_fact,
    encode,
)
from tests.support import examples

TEXTS = st.text(st.characters(codec="utf-8"))
SECRET = "s3cret-Wort 秘密"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(TEXTS)
def test_a_filler_for_each_character_and_white_space_where_it_was(text: str) -> None:
    done = mask(text)
    assert len(done) == len(text)
    assert [c for c in done if not c.isspace()] == [FILLER for c in text if not c.isspace()]
    assert [(at, c) for at, c in enumerate(done) if c.isspace()] == [
        (at, c) for at, c in enumerate(text) if c.isspace()
    ]


@given(st.lists(TEXTS))
def test_redacted_tokens_make_the_redacted_answer(texts: list[str]) -> None:
    events = [examples.token(index, text=text or "-") for index, text in enumerate(texts, start=1)]
    plain, done = fold(examples.numbered(*events)), fold(examples.numbered(*map(redact, events)))
    assert done.whole_text == mask(plain.whole_text)


@given(st.dictionaries(TEXTS, JSON, max_size=4))
def test_of_metadata_the_keys_and_the_kinds_of_values_stay(metadata: dict[str, Any]) -> None:
    done = redact(examples.message_requested(1, metadata=metadata)).metadata
    assert shape(done) == shape(metadata)
    assert all(leaf in (0, False, None) or set(leaf) <= set(mask(leaf)) for leaf in leaves(done))


def shape(value: Any) -> Any:
    match value:
        case dict():
            return {key: shape(one) for key, one in value.items()}
        case list():
            return [shape(one) for one in value]
        case str():
            return len(value)
        case bool():
            return bool
        case None:
            return None
        case _:
            return float


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for one in value.values() for leaf in leaves(one)]
    if isinstance(value, list):
        return [leaf for one in value for leaf in leaves(one)]
    return [value]


def said_everywhere() -> list[Fact | AnswerEvent]:
    """Events with something secret in each of their fields that can hold it."""
    problem = msgspec.structs.replace(examples.PROBLEM, detail=SECRET)
    call = ToolCallFragment(index=0, id="call", name="search", arguments=SECRET)
    json = {"key": [SECRET, {"deep": SECRET}]}
    asked: dict[str, Any] = {
        "params": json,
        "instructions": SECRET,
        "metadata": json,
        "request_hash": SECRET,
        "owner": SECRET,
    }
    replace = msgspec.structs.replace
    return [
        examples.chat_created(title=SECRET, system=SECRET, metadata=json, request_hash=SECRET, owner=SECRET),
        examples.message_requested(1, content=(TextPart(SECRET), TextPart(SECRET)), **asked),
        replace(examples.answer_requested(), **asked),
        replace(examples.answer_completed(text=SECRET), reasoning=SECRET, tool_calls=(call,)),
        replace(examples.answer_failed(text=SECRET), error=problem),
        examples.answer_cancelled(text=SECRET),
        examples.title_generated(SECRET),
        replace(examples.chat_renamed(), title=SECRET),
        replace(examples.chat_metadata_changed(), metadata=json),
        examples.token(1, text=SECRET),
        replace(examples.token(1), reasoning=SECRET, tool_call=call),
        GenerationEnded(
            attempt=examples.token().attempt,
            outcome="failed",
            last_index=examples.token().index,
            error=problem,
        ),
    ]


def test_nothing_that_was_said_is_left_and_the_event_is_one_still() -> None:
    for event in said_everywhere():
        data = encode(redact(event))
        assert SECRET[:6].encode() not in data
        assert "秘".encode() not in data
        decode = decode_answer_event if isinstance(event, TokenEmitted | GenerationEnded) else decode_fact
        assert type(decode(data)) is type(event)


def test_params_keep_what_is_no_text() -> None:
    params = {"temperature": 0.5, "user": "Ada", "stop": ["\n", "END"]}
    done = redact(examples.message_requested(1, params=params)).params
    assert done == {"temperature": 0.5, "user": "xxx", "stop": ["\n", "xxx"]}


def test_every_field_of_every_event_is_replaced_or_named_as_one_that_may_stay() -> None:
    assert unknown_fields((*typing.get_args(Fact), *typing.get_args(AnswerEvent))) == set()
