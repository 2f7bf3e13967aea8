"""Requests and chunks of OpenAI's chat completions, for OpenAI and compatible servers. Pure.

One param is translated: `max_output_tokens` becomes `max_tokens` or `max_completion_tokens`. All others
(`temperature`, `top_p`, `stop`, `seed`, `tools`, ...) are passed on unchanged; a server rejects params that it does
not support. `model`, `messages` and `stream` are set by us.
"""

import re
from collections.abc import Iterator

from services.generator.providers import Delta, Finished, Prompt, ReasoningDelta, TextDelta, ToolCallDelta
from services.generator.providers.continuation import Continuation
from services.generator.providers.provider_errors import StreamErrorFactory
from services.generator.providers.tool_calls import ToolCalls
from services.generator.providers.usage import token_count
from shared.domain.errors import ProviderError, ProviderInterrupted
from shared.domain.events import Json, Usage

_COMPLETION_TOKENS_MODELS = re.compile(r"(?:^|/)(?:o[1-9]|gpt-[5-9])")
"""Models that reject `max_tokens` on every server and proxy."""

_FINISH_REASONS = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}
_BREAKING_REASONS = frozenset({"error", "abort", "aborted", "insufficient_system_resource"})
"""Reasons by which OpenRouter, Mistral, vLLM and DeepSeek report a failure of the server: the answer has no end."""


def build_request(prompt: Prompt, sent_prefill: str, *, completion_tokens: bool) -> Json:
    """Returns the request's body. `completion_tokens`: the server expects `max_completion_tokens` for all models."""
    body = dict(prompt.params)
    if (limit := body.pop("max_output_tokens", None)) is not None:
        wants_new = completion_tokens or bool(_COMPLETION_TOKENS_MODELS.search(prompt.model))
        body["max_completion_tokens" if wants_new else "max_tokens"] = limit
    options = body.get("stream_options")
    body |= {
        "model": prompt.model,
        "messages": list(_messages(prompt, sent_prefill)),
        "stream": True,
        "stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True},
    }
    if sent_prefill:
        # vLLM, llama.cpp and SGLang know both names. Without them llama.cpp repeats the prefill.
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return body


def drop_unsupported(body: Json, complaint: str) -> Json | None:
    """Returns the request without a field that we added and that the error message names; None if it names none.

    The result is not remembered for later requests: a server that lacks `stream_options` rejects it at once.
    """
    if "stream_options" in body and re.search("stream_options|include_usage", complaint):
        return {name: value for name, value in body.items() if name != "stream_options"}
    if "max_tokens" in body and "max_completion_tokens" in complaint:
        return {("max_completion_tokens" if name == "max_tokens" else name): body[name] for name in body}
    return None


def _messages(prompt: Prompt, sent_prefill: str) -> Iterator[Json]:
    if prompt.system:
        yield {"role": "system", "content": prompt.system}
    for message in prompt.messages:
        yield {"role": message.role, "content": message.text}
    if sent_prefill:
        yield {"role": "assistant", "content": sent_prefill}


class ChunkDecoder:
    """The `Dialect` of chat completion chunks; a whole completion in one document counts as one chunk."""

    def __init__(self, continuation: Continuation, complain: StreamErrorFactory) -> None:
        self.finished: Finished | None = None
        self._continuation = continuation
        self._make_error = complain
        self._tool_calls = ToolCalls()
        self._has_output = False
        self._finish_reason = ""
        self._has_end_marker = False
        self._usage = Usage()

    @property
    def is_complete(self) -> bool:
        return bool(self._finish_reason)

    def take_end_marker(self, data: str) -> bool:
        self._has_end_marker = self._has_end_marker or data == "[DONE]"
        return self._has_end_marker

    def finish(self) -> Finished:
        if not (self._finish_reason or self._has_end_marker):
            raise ProviderInterrupted("The provider's stream ended in the middle of the answer.")
        otherwise = "tool_calls" if self._tool_calls.any_seen else "stop"
        return Finished(finish_reason=self._finish_reason or otherwise, usage=self._usage)

    def decode(self, found: Json) -> Iterator[Delta]:
        if error := self._find_error(found):
            raise error
        # Usage comes in a separate chunk with `choices: []`, in the last chunk, in each, or never: the last one counts.
        if isinstance(usage := found.get("usage"), dict):
            self._usage = Usage(
                input_tokens=token_count(usage.get("prompt_tokens")),
                output_tokens=token_count(usage.get("completion_tokens")),
            )
        choices = found.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and not choice.get(
                "index"
            ):  # `n` is not ours: the first choice is the answer
                yield from self._decode_choice(choice)

    def _find_error(self, found: Json) -> ProviderError | None:
        # Old versions of vLLM send `object: error` without `error`. OpenAI sends `error: null` in regular chunks.
        if found.get("error") or found.get("object") == "error":
            return self._make_error(found, begun=self._has_output)
        return None

    def _decode_choice(self, choice: Json) -> Iterator[Delta]:
        delta = choice.get("delta")
        # Some servers end with the whole message beside or in place of the last delta: it would repeat the text.
        if not isinstance(delta, dict) and not self._has_output:
            delta = choice.get("message")
        for said in self._decode_delta(delta) if isinstance(delta, dict) else ():
            self._has_output = True
            yield said
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason in _BREAKING_REASONS:
                raise self._make_error(
                    {"error": {"message": f"The provider aborted the answer: {reason}."}},
                    begun=self._has_output,
                )
            self._finish_reason = _FINISH_REASONS.get(reason.lower(), reason)

    def _decode_delta(self, delta: Json) -> Iterator[Delta]:
        # Some servers send both fields with the same text.
        reasoning = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        if reasoning := reasoning or _thinking(delta.get("content")):
            yield ReasoningDelta(reasoning)
        for text in (_text(delta.get("content")), _text(delta.get("refusal"))):
            if new := self._continuation.drop_overlap(text):
                yield TextDelta(new)
        for fragment in self._tool_calls.decode_fragments(delta.get("tool_calls")):
            yield ToolCallDelta(fragment)


def _text(content: object) -> str:
    """Returns a string, or the joined texts of typed parts, which Mistral sends."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return ""


def _thinking(content: object) -> str:
    if not isinstance(content, list):
        return ""
    return "".join(_text(part.get("thinking")) for part in content if isinstance(part, dict))
