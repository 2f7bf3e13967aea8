"""Anthropic's events mean what its documentation says, and what comes whole means the same."""

import json
from typing import Any

import pytest

from services.generator.providers import Finished, Prompt, PromptMessage, anthropic_events
from shared.domain.errors import ProviderError, ProviderInterrupted, ProviderRefused, ProviderUnavailable
from shared.domain.events import ToolCallFragment, Usage
from tests.support.provider_replies import Heard, heard
from tests.support.provider_scripts import anthropic_events as events_of
from tests.support.provider_scripts import event


def listened(*chunks: bytes, prefill: str = "") -> Heard:
    return heard("anthropic", chunks, prefill)


def block(index: int, found: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        event({"type": "content_block_start", "index": index, "content_block": found}),
        *(event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas),
        event({"type": "content_block_stop", "index": index}),
    ]


def started(**usage: int) -> bytes:
    return event({"type": "message_start", "message": {"content": [], "usage": usage}})


def ended(stop_reason: str = "end_turn", **usage: int) -> list[bytes]:
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [event({"type": "message_delta", "delta": delta, "usage": usage}), event({"type": "message_stop"})]


def test_a_whole_answer_has_its_text_its_usage_and_its_reason() -> None:
    result = listened(*events_of("Hel", "lo"))
    assert result.text == "Hello"
    assert result.finished == Finished(finish_reason="stop", usage=Usage(input_tokens=7, output_tokens=2))


def test_thinking_is_reasoning_and_its_signature_is_nobodys() -> None:
    thinking = block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "EqQB"},
    )
    text = block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "so"})
    result = listened(started(), *thinking, *text, *ended())
    assert (result.reasoning, result.text) == ("hm", "so")


def test_tool_calls_are_numbered_among_themselves() -> None:
    text = block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "so"})
    first = block(
        1,
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "input_json_delta", "partial_json": ""},
        {"type": "input_json_delta", "partial_json": '{"x"'},
        {"type": "input_json_delta", "partial_json": ": 1}"},
    )
    second = block(2, {"type": "tool_use", "id": "b", "name": "g", "input": {}})
    result = listened(started(), *text, *first, *second, *ended("tool_use"))
    assert result.tool_calls == (
        ToolCallFragment(index=0, id="a", name="f", arguments='{"x": 1}'),
        ToolCallFragment(index=1, id="b", name="g"),
    )
    assert result.finished == Finished(finish_reason="tool_calls")


def test_usage_is_what_was_told_last_and_counts_the_cache() -> None:
    start = started(
        input_tokens=5, output_tokens=1, cache_read_input_tokens=30, cache_creation_input_tokens=2
    )
    finished = listened(start, *ended(output_tokens=9)).finished
    assert finished == Finished(finish_reason="stop", usage=Usage(input_tokens=37, output_tokens=9))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
    ],
)
def test_reasons_have_one_name_each(theirs: str, ours: str) -> None:
    assert listened(started(), *ended(theirs)).finished == Finished(finish_reason=ours)


def test_a_stream_that_ends_without_a_reason_was_interrupted() -> None:
    result = listened(*events_of("Hel")[:-2])
    assert (result.text, result.error) == ("Hel", ProviderInterrupted)


def test_the_reason_is_marker_enough() -> None:
    assert listened(*events_of("Hel")[:-1]).finished == listened(*events_of("Hel")).finished


def error(kind: str) -> bytes:
    return event({"type": "error", "error": {"type": kind, "message": "no luck"}}, "error")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("overloaded_error", ProviderUnavailable),
        ("rate_limit_error", ProviderUnavailable),
        ("api_error", ProviderUnavailable),
        ("timeout_error", ProviderUnavailable),
        ("invalid_request_error", ProviderRefused),
        ("authentication_error", ProviderRefused),
        ("permission_error", ProviderRefused),
        ("not_found_error", ProviderRefused),
        ("billing_error", ProviderRefused),
        ("new_error", ProviderInterrupted),
    ],
)
def test_an_error_before_the_first_word_says_whether_to_try_again(
    kind: str, expected: type[ProviderError]
) -> None:
    result = listened(started(), error(kind))
    assert (result.error, result.detail) == (expected, "no luck")


@pytest.mark.parametrize("kind", ["overloaded_error", "invalid_request_error"])
def test_an_error_after_the_first_word_is_an_interruption(kind: str) -> None:
    result = listened(*events_of("Hel")[:4], error(kind))
    assert (result.text, result.error) == ("Hel", ProviderInterrupted)


@pytest.mark.parametrize(
    "noise",
    [
        event({"type": "ping"}, "ping"),
        event({"type": "news", "index": 0}, "news"),
        b"event: news\ndata: not json\n\n",
        event({"type": "content_block_delta", "index": 0, "delta": {"type": "news_delta", "text": "x"}}),
        event({"type": "content_block_start", "index": 9, "content_block": {"type": "news"}}),
        event({"type": "content_block_delta"}),
        event({"type": "message_start", "message": None}),
        event(
            {
                "type": "content_block_delta",
                "index": 5,
                "delta": {"type": "input_json_delta", "partial_json": "x"},
            }
        ),
        event({}),
    ],
)
def test_what_is_not_known_changes_nothing(noise: bytes) -> None:
    assert listened(noise, *(piece + noise for piece in events_of("Hel", "lo"))) == listened(
        *events_of("Hel", "lo")
    )


def test_a_message_that_comes_whole_is_an_answer() -> None:
    content: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}},
    ]
    usage = {"input_tokens": 3, "output_tokens": 4}
    message = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": usage}
    result = listened(json.dumps(message, indent=2).encode())
    assert (result.reasoning, result.text) == ("hm", "Hello")
    assert result.tool_calls == (ToolCallFragment(index=0, id="a", name="f", arguments='{"x": 1}'),)
    assert result.finished == Finished(
        finish_reason="tool_calls", usage=Usage(input_tokens=3, output_tokens=4)
    )


# --- requests ----------------------------------------------------------------------------------------


def request(prefill: str = "", *messages: PromptMessage, **params: Any) -> dict[str, Any]:
    asked = messages or (PromptMessage("user", "Hi"),)
    prompt = Prompt(model="m", messages=asked, system="Be kind.", params=params)
    return anthropic_events.build_request(prompt, prefill, output_tokens_max=99)


def test_a_request_has_the_system_prompt_beside_the_messages_and_always_a_limit() -> None:
    assert request() == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "system": "Be kind.",
        "stream": True,
        "max_tokens": 99,
    }


def test_params_are_translated_where_the_names_differ_and_pass_through_elsewhere() -> None:
    body = request(max_output_tokens=5, stop="x", temperature=0.5, top_k=3, stream=False, system="other")
    assert (body["max_tokens"], body["stop_sequences"], body["temperature"], body["top_k"]) == (
        5,
        ["x"],
        0.5,
        3,
    )
    assert (body["stream"], body["system"]) == (True, "Be kind.")
    assert not {"max_output_tokens", "stop"} & set(body)
    assert request(stop=["x", "y"])["stop_sequences"] == ["x", "y"]


def test_a_message_without_text_is_not_sent() -> None:
    messages = (PromptMessage("user", "a"), PromptMessage("assistant", " \n"), PromptMessage("user", "b"))
    assert [message["content"] for message in request("", *messages)["messages"]] == ["a", "b"]


def test_a_prefill_is_the_last_message() -> None:
    assert request("one,")["messages"][-1] == {"role": "assistant", "content": "one,"}


# --- prefill -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        "claude-3-5-sonnet-20241022",
        "claude-3-7-sonnet-latest",
        "claude-3-haiku-20240307",
        "claude-2.1",
        "claude-instant-1.2",
        "claude-opus-4-0",
        "claude-sonnet-4-20250514",
        "claude-sonnet-4@20250514",
        "claude-opus-4-1-20250805",
        "claude-sonnet-4-5-20250929",
        "claude-haiku-4-5",
        "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "anthropic/claude-opus-4-5",
    ],
)
def test_models_up_to_4_5_take_a_prefill(model: str) -> None:
    assert anthropic_events.supports_prefill(model)


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-6",
        "claude-sonnet-4-6",
        "claude-opus-4-7-20260401",
        "claude-opus-4-10",
        "claude-sonnet-5",
        "claude-5-sonnet",
        "claude-fable-5",
        "claude-30-opus",
        "claude",
        "gemma-3",
        "not-claude-3",
    ],
)
def test_later_and_unknown_models_take_none(model: str) -> None:
    assert not anthropic_events.supports_prefill(model)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (None, False),
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": {"type": "adaptive"}}, True),
    ],
)
def test_thinking_is_seen(params: dict[str, Any] | None, expected: bool) -> None:  # noqa: FBT001
    assert anthropic_events.has_thinking(params) is expected
