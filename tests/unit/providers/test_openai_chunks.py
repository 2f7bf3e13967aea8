"""Chat completion chunks mean what they mean, from whichever server they come."""

import json
from typing import Any

import pytest

from services.generator.providers import Finished
from shared.domain.errors import ProviderInterrupted, ProviderRefused, ProviderUnavailable
from shared.domain.events import ToolCallFragment, Usage
from tests.support.provider_replies import Heard, heard
from tests.support.provider_scripts import event, openai_events

DONE = event("[DONE]")


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **more: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}], **more})


def listened(*chunks: bytes, prefill: str = "") -> Heard:
    return heard("openai", chunks, prefill)


# --- the end -----------------------------------------------------------------------------------------


def test_a_whole_answer_has_its_text_its_usage_and_its_reason() -> None:
    result = listened(*openai_events("Hel", "lo"))
    assert result.text == "Hello"
    assert result.finished == Finished(finish_reason="stop", usage=Usage(input_tokens=7, output_tokens=2))


def test_a_stream_that_ends_without_any_marker_was_interrupted() -> None:
    result = listened(*openai_events("Hel", finish_reason=None, done=False))
    assert (result.text, result.error) == ("Hel", ProviderInterrupted)
    assert listened().error is ProviderInterrupted


def test_either_marker_is_enough() -> None:
    assert listened(chunk({"content": "a"}), DONE).finished == Finished(finish_reason="stop")
    assert listened(chunk({"content": "a"}, "length")).finished == Finished(finish_reason="length")


def test_the_last_marker_needs_no_line_end() -> None:
    assert listened(chunk({"content": "a"}), b"data: [DONE]").finished is not None


def test_a_cut_marker_is_none() -> None:
    assert listened(chunk({"content": "a"}), b"data: [DONE").error is ProviderInterrupted


def test_an_accounting_that_is_cut_does_not_undo_the_end() -> None:
    result = listened(chunk({"content": "a"}, "stop"), b'data: {"usage": {"prompt_tok')
    assert result.finished == Finished(finish_reason="stop")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("STOP", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("SAFETY", "content_filter"),
        ("something_new", "something_new"),
    ],
)
def test_reasons_have_one_name_each(theirs: str, ours: str) -> None:
    assert listened(chunk({"content": "a"}, theirs), DONE).finished == Finished(finish_reason=ours)


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_a_server_that_gave_up_has_not_finished(reason: str) -> None:
    assert listened(chunk({"content": "a"}), chunk({}, reason), DONE).error is ProviderInterrupted


# --- usage -------------------------------------------------------------------------------------------

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
COUNTED = Usage(input_tokens=3, output_tokens=4)


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk({"content": "a"}, "stop"), event({"choices": [], "usage": USAGE}), DONE],
        [chunk({"content": "a"}, "stop", usage=USAGE), DONE],
        [
            chunk({"content": "a"}, usage={"prompt_tokens": 3, "completion_tokens": 1}),
            chunk({}, "stop", usage=USAGE),
        ],
        [chunk({"content": "a"}, usage=None), chunk({}, "stop"), event({"usage": USAGE}), DONE],
    ],
    ids=["its own chunk", "last chunk", "each chunk", "no choices at all"],
)
def test_usage_is_found_wherever_it_stands(chunks: list[bytes]) -> None:
    finished = listened(*chunks).finished
    assert finished is not None
    assert finished.usage == COUNTED


@pytest.mark.parametrize(
    "usage", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": -1, "completion_tokens": "x"}, []]
)
def test_usage_that_says_nothing_is_none(usage: object) -> None:
    finished = listened(chunk({"content": "a"}, "stop", usage=usage), DONE).finished
    assert finished == Finished(finish_reason="stop", usage=Usage())


# --- what is said ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"reasoning_content": "hm", "reasoning": "hm"},
        {"reasoning_content": None, "reasoning": "hm", "content": None},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
    ],
    ids=["DeepSeek", "OpenRouter", "vLLM", "null", "Mistral"],
)
def test_reasoning_is_told_once_under_any_name(delta: dict[str, Any]) -> None:
    result = listened(chunk(delta), chunk({"content": "so"}, "stop"), DONE)
    assert (result.reasoning, result.text) == ("hm", "so")


def test_a_refusal_is_what_the_model_says() -> None:
    assert listened(chunk({"content": None, "refusal": "I cannot."}, "stop")).text == "I cannot."


def test_texts_in_typed_parts_are_text() -> None:
    assert listened(chunk({"content": [{"type": "text", "text": "so"}]}, "stop")).text == "so"


def test_other_choices_are_not_the_answer() -> None:
    other = event({"choices": [{"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}]})
    assert listened(other, chunk({"content": "a"}), other, DONE).text == "a"


def test_the_whole_message_beside_the_last_delta_is_not_said_again() -> None:
    last = event({"choices": [{"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}]})
    assert listened(chunk({"content": "a"}), chunk({"content": "b"}), last).text == "ab"


def test_a_completion_that_comes_whole_is_an_answer() -> None:
    message = {
        "role": "assistant",
        "content": "Hello",
        "reasoning_content": "hm",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
    result = listened(json.dumps(body, indent=2).encode())
    assert (result.text, result.reasoning) == ("Hello", "hm")
    assert result.tool_calls == (ToolCallFragment(index=0, id="1", name="f", arguments="{}"),)
    assert result.finished == Finished(finish_reason="stop", usage=COUNTED)


def test_a_repeated_prefill_is_said_once() -> None:
    prefill = "one, two, three, four, "
    result = listened(chunk({"content": "one, two, three, four, five"}), chunk({}, "stop"), prefill=prefill)
    assert prefill + result.text == "one, two, three, four, five"


# --- tool calls --------------------------------------------------------------------------------------


def call(
    index: int | None = None, id_: str | None = None, name: str | None = None, arguments: Any = None
) -> bytes:
    fragment = {
        "index": index,
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }
    fragment = {key: value for key, value in fragment.items() if value is not None}
    return chunk({"tool_calls": [fragment]})


TWO_CALLS = (
    ToolCallFragment(index=0, id="a", name="f", arguments='{"x": 1}'),
    ToolCallFragment(index=1, id="b", name="g", arguments="{}"),
)


@pytest.mark.parametrize(
    "chunks",
    [
        [
            call(0, "a", "f", ""),
            call(0, arguments='{"x"'),
            call(1, "b", "g", "{}"),
            call(0, arguments=": 1}"),
        ],
        [call(0, "a", "f", '{"x"'), call(0, "a", "f", ": 1}"), call(1, "b", "g", "{}")],
        [call(0, "a", "f", '{"x": 1}'), call(0, "b", "g", "{}")],
        [call(None, "a", "f", '{"x"'), call(None, arguments=": 1}"), call(None, "b", "g", "{}")],
        [call(0, "a", "f", {"x": 1}), call(1, "b", "g", {})],
        [call(0, "a", "f", '{"x"'), call(0, "other", None, ": 1}"), call(1, "b", "g", "{}")],
        [call(3, "a", "f", '{"x": 1}'), call(7, "b", "g", "{}")],
    ],
    ids=[
        "interleaved",
        "id repeated",
        "all index 0",
        "no index",
        "objects",
        "ids that change",
        "odd indexes",
    ],
)
def test_fragments_of_a_call_come_together(chunks: list[bytes]) -> None:
    result = listened(*chunks, chunk({}, "tool_calls"), DONE)
    assert result.tool_calls == TWO_CALLS
    assert result.finished is not None


def test_a_tool_call_with_no_reason_but_the_end_marker_ends_with_tool_calls() -> None:
    assert listened(call(0, "a", "f", "{}"), DONE).finished == Finished(finish_reason="tool_calls")


# --- what is no answer -------------------------------------------------------------------------------


def error(**found: object) -> bytes:
    return event({"error": {"message": "no luck", **found}})


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (error(code=429), ProviderUnavailable),
        (error(code=502), ProviderUnavailable),
        (error(type="rate_limit_exceeded"), ProviderUnavailable),
        (error(type="server_error"), ProviderUnavailable),
        (error(code=400), ProviderRefused),
        (error(type="invalid_request_error"), ProviderRefused),
        (error(code="context_length_exceeded"), ProviderRefused),
        (error(), ProviderInterrupted),
        (event({"error": "no luck"}), ProviderInterrupted),
        (
            event({"object": "error", "message": "no luck", "type": "BadRequestError", "code": 400}),
            ProviderRefused,
        ),
        (event({"error": {"message": "no luck", "code": 503}, "choices": []}, "error"), ProviderUnavailable),
        (event("no luck", "error"), ProviderInterrupted),
        (b'{"error": {"message": "no luck", "code": 429}}', ProviderUnavailable),
    ],
)
def test_an_error_in_place_of_an_answer_says_whether_to_try_again(
    found: bytes, kind: type[Exception]
) -> None:
    result = (
        listened(chunk({"role": "assistant", "content": ""}), found) if found[:1] != b"{" else listened(found)
    )
    assert (result.error, result.detail) == (kind, "no luck")


@pytest.mark.parametrize("found", [error(code=429), error(code=400), error()])
def test_an_error_after_the_first_word_is_an_interruption(found: bytes) -> None:
    result = listened(chunk({"content": "a"}), found, DONE)
    assert (result.text, result.error, result.detail) == ("a", ProviderInterrupted, "no luck")


@pytest.mark.parametrize(
    "broken", [b"data: {\n\n", b"data: nonsense\n\n", b"data: " + b"[" * 10**5 + b"\n\n"]
)
def test_what_is_no_json_is_an_interruption(broken: bytes) -> None:
    result = listened(chunk({"content": "a"}), broken, DONE)
    assert (result.text, result.error) == ("a", ProviderInterrupted)


NOISE = [
    b": ping\n\n",
    b"\n\n",
    b"data:\n\n",
    b"event: ping\ndata: pong\n\n",
    event({"type": "ping"}, "ping"),
    event("null"),
    event("[1]"),
    event({"choices": None}),
    event({"choices": [None, {}]}),
    event({"choices": [{"index": 0, "delta": None, "finish_reason": None}]}),
    chunk({"content": None, "tool_calls": None, "x": {"y": 1}}, error=None),
    chunk({"tool_calls": [None, 3], "content": {"a": 1}}),
    event({"usage": "none", "x": 1}),
]


@pytest.mark.parametrize("noise", NOISE)
def test_what_is_not_known_changes_nothing(noise: bytes) -> None:
    assert listened(noise, *(piece + noise for piece in openai_events("Hel", "lo"))).text == "Hello"
    assert listened(noise, *openai_events("a"), noise) == listened(*openai_events("a"))
