"""What OpenAI-compatible servers are asked: what is ours, what is translated, and what passes through."""

from typing import Any

import pytest

from services.generator.providers import Prompt, PromptMessage, openai_chunks


def request(
    prefill: str = "", model: str = "m", *, completion_tokens: bool = False, **params: Any
) -> dict[str, Any]:
    prompt = Prompt(model=model, messages=(PromptMessage("user", "Hi"),), system="Be kind.", params=params)
    return openai_chunks.build_request(prompt, prefill, completion_tokens=completion_tokens)


def test_a_request_has_the_system_prompt_first_and_asks_for_usage() -> None:
    assert request() == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_params_pass_through_and_cannot_take_the_place_of_what_is_ours() -> None:
    body = request(temperature=0.5, stop=["x"], top_k=3, stream=False, messages=[])
    assert (body["temperature"], body["stop"], body["top_k"]) == (0.5, ["x"], 3)
    assert (body["stream"], len(body["messages"])) == (True, 2)


@pytest.mark.parametrize(
    ("model", "completion_tokens", "name"),
    [
        ("gpt-4o", False, "max_tokens"),
        ("llama-3", False, "max_tokens"),
        ("gpt-4o", True, "max_completion_tokens"),
        ("o3-mini", False, "max_completion_tokens"),
        ("openai/gpt-5.1", False, "max_completion_tokens"),
        ("gpt-oss-20b", False, "max_tokens"),
    ],
)
def test_the_limit_has_the_name_that_the_model_knows(model: str, completion_tokens: bool, name: str) -> None:  # noqa: FBT001
    body = request(model=model, completion_tokens=completion_tokens, max_output_tokens=9)
    assert body[name] == 9
    assert "max_output_tokens" not in body


def test_a_prefill_is_the_last_message_and_is_to_be_gone_on_with() -> None:
    body = request("one,")
    assert body["messages"][-1] == {"role": "assistant", "content": "one,"}
    assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in request()


def test_only_a_complaint_about_our_own_additions_changes_a_request() -> None:
    body = request(max_output_tokens=9)
    without = openai_chunks.drop_unsupported(body, "Unknown field: stream_options")
    assert without == {name: value for name, value in body.items() if name != "stream_options"}
    renamed = openai_chunks.drop_unsupported(
        body, "'max_tokens' is not supported. Use 'max_completion_tokens' instead."
    )
    assert renamed is not None
    assert renamed["max_completion_tokens"] == 9
    assert "max_tokens" not in renamed
    assert openai_chunks.drop_unsupported(body, "temperature must be a number") is None
    assert openai_chunks.drop_unsupported(without, "Unknown field: stream_options") is None
