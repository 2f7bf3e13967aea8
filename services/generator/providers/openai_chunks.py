"""OpenAI's chat completions, as OpenAI and the many servers that speak like it have them. Pure.

What is translated of a request's params, and nothing else is: `max_output_tokens` becomes `max_tokens` or
`max_completion_tokens`. `temperature`, `top_p`, `stop`, `seed`, `tools` and all others go as they came; what
a server does not know it refuses itself. `model`, `messages` and `stream` are ours.
"""

import re
from collections.abc import Iterator

from services.generator.providers import Delta, Finished, Prompt, ReasoningDelta, TextDelta, ToolCallDelta
from services.generator.providers.complaints import InStream
from services.generator.providers.continuation import Continuation
from services.generator.providers.tool_calls import ToolCalls
from services.generator.providers.usage import count
from shared.domain.errors import ProviderError, ProviderInterrupted
from shared.domain.events import Json, Usage

_COMPLETION_TOKENS_MODELS = re.compile(r"(?:^|/)(?:o[1-9]|gpt-[5-9])")
"""Models that refuse `max_tokens`, on whichever server or proxy."""

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
"""The server gave up: OpenRouter, Mistral, vLLM and DeepSeek say it so, and it is no end."""


def request(prompt: Prompt, sent_prefill: str, *, completion_tokens: bool) -> Json:
    """`completion_tokens`: whether the server itself wants `max_completion_tokens`."""
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
        # Both are vLLM's names, which llama.cpp and SGLang have taken over; without them llama.cpp repeats the text.
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return body


def adjusted(body: Json, complaint: str) -> Json | None:
    """The request without what the server does not know, if its complaint names one of our own additions.

    A server that knows `stream_options` is never asked twice, and one that does not answers at once: so
    nothing is remembered.
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


class Chunks:
    """The `Dialect` of chat completion chunks; a whole completion counts as one chunk."""

    def __init__(self, continuation: Continuation, complain: InStream) -> None:
        self.finished: Finished | None = None
        self._continuation = continuation
        self._complain = complain
        self._tool_calls = ToolCalls()
        self._begun = False
        self._finish_reason = ""
        self._marked = False
        self._usage = Usage()

    @property
    def closing(self) -> bool:
        return bool(self._finish_reason)

    def ends(self, data: str) -> bool:
        self._marked = self._marked or data == "[DONE]"
        return self._marked

    def end(self) -> Finished:
        if not (self._finish_reason or self._marked):
            raise ProviderInterrupted("The provider's stream ended in the middle of the answer.")
        otherwise = "tool_calls" if self._tool_calls.seen else "stop"
        return Finished(finish_reason=self._finish_reason or otherwise, usage=self._usage)

    def event(self, found: Json) -> Iterator[Delta]:
        if error := self._error(found):
            raise error
        # It comes in a chunk of its own with `choices: []`, in the last one, in each one, or never: the last counts.
        if isinstance(usage := found.get("usage"), dict):
            self._usage = Usage(
                input_tokens=count(usage.get("prompt_tokens")),
                output_tokens=count(usage.get("completion_tokens")),
            )
        choices = found.get("choices")
        for choice in choices if isinstance(choices, list) else []:
            if isinstance(choice, dict) and not choice.get(
                "index"
            ):  # `n` is not ours: the first choice is the answer
                yield from self._choice(choice)

    def _error(self, found: Json) -> ProviderError | None:
        # An old vLLM has `object: error` and no `error`. OpenAI has `error: null` in good chunks.
        if found.get("error") or found.get("object") == "error":
            return self._complain(found, begun=self._begun)
        return None

    def _choice(self, choice: Json) -> Iterator[Delta]:
        delta = choice.get("delta")
        # Some servers end with the whole message beside or in place of the last delta: it was said already.
        if not isinstance(delta, dict) and not self._begun:
            delta = choice.get("message")
        for said in self._said(delta) if isinstance(delta, dict) else ():
            self._begun = True
            yield said
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason in _BREAKING_REASONS:
                raise self._complain(
                    {"error": {"message": f"The provider gave up: {reason}."}}, begun=self._begun
                )
            self._finish_reason = _FINISH_REASONS.get(reason.lower(), reason)

    def _said(self, delta: Json) -> Iterator[Delta]:
        # Some servers send both, with the same text.
        reasoning = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning"))
        if reasoning := reasoning or _thinking(delta.get("content")):
            yield ReasoningDelta(reasoning)
        for text in (_text(delta.get("content")), _text(delta.get("refusal"))):
            if new := self._continuation.after(text):
                yield TextDelta(new)
        for fragment in self._tool_calls.fragments(delta.get("tool_calls")):
            yield ToolCallDelta(fragment)


def _text(content: object) -> str:
    """A string, or the texts of typed parts, as Mistral sends them."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _thinking(content: object) -> str:
    parts = content if isinstance(content, list) else []
    return "".join(_text(part.get("thinking")) for part in parts if isinstance(part, dict))
