"""Requests and events of Anthropic's Messages API. Pure.

Two params are translated: `max_output_tokens` becomes `max_tokens`, which is required; `stop` becomes
`stop_sequences`. All others (`temperature`, `top_p`, `top_k`, `tools`, `thinking`, ...) are passed on unchanged, so
tools have Anthropic's form here. `model`, `messages`, `system` and `stream` are set by us.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from services.generator.providers import Delta, Finished, Prompt, ReasoningDelta, TextDelta, ToolCallDelta
from services.generator.providers.continuation import Continuation
from services.generator.providers.provider_errors import StreamErrorFactory
from services.generator.providers.usage import token_count
from shared.domain.errors import ProviderInterrupted
from shared.domain.events import Json, ToolCallFragment, Usage

_TAKES_PREFILL = re.compile(
    r"(?:^|[/.])claude-(?:"
    r"(?:instant|2|3)(?![0-9])"
    r"|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:[-@](?:20[0-9]{6}|latest))?(?:-v[0-9:]+)?$"
    r")"
)
"""Claude up to 4.5 supports a prefill. From 4.6 on it is rejected; unknown models are assumed to reject it too."""

_STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def supports_prefill(model: str) -> bool:
    return bool(_TAKES_PREFILL.search(model))


def has_thinking(params: Mapping[str, Any] | None) -> bool:
    """Returns True if the params turn thinking on. No model accepts a prefill then."""
    match (params or {}).get("thinking"):
        case {"type": "disabled"} | None:
            return False
        case _:
            return True


def build_request(prompt: Prompt, sent_prefill: str, *, output_tokens_max: int) -> Json:
    body = dict(prompt.params)
    limit = body.pop("max_output_tokens", None)
    if limit is not None:
        body["max_tokens"] = limit
    body.setdefault("max_tokens", output_tokens_max)
    if (stop := body.pop("stop", None)) is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    # Anthropic rejects blank messages, such as an answer that was cancelled before its first token.
    messages = [
        {"role": message.role, "content": message.text} for message in prompt.messages if message.text.strip()
    ]
    if sent_prefill:
        messages.append({"role": "assistant", "content": sent_prefill})
    body |= {"model": prompt.model, "messages": messages, "stream": True}
    return body | ({"system": prompt.system} if prompt.system else {})


class MessageDecoder:
    """The `Dialect` of Anthropic's events; a whole message in one document counts as one event."""

    def __init__(self, continuation: Continuation, complain: StreamErrorFactory) -> None:
        self.finished: Finished | None = None
        self._continuation = continuation
        self._make_error = complain
        self._has_output = False
        self._tools: dict[int, int] = {}
        self._finish_reason = ""
        self._usage: dict[str, int] = {}

    @property
    def is_complete(self) -> bool:
        return bool(self._finish_reason)

    def take_end_marker(self, data: str) -> bool:
        return data == "[DONE]"  # Some compatible servers send OpenAI's end marker.

    def finish(self) -> Finished:
        if not self._finish_reason:
            raise ProviderInterrupted("The provider's stream ended in the middle of the answer.")
        return Finished(finish_reason=self._finish_reason, usage=self._total_usage())

    def decode(self, found: Json) -> Iterator[Delta]:
        for delta in self._decode_event(found):
            self._has_output = True
            yield delta

    def _decode_event(self, found: Json) -> Iterator[Delta]:
        match found:
            case {"type": "error"} | {"error": dict() | str()}:
                raise self._make_error(found, begun=self._has_output)
            case {"type": "message_start", "message": dict(message)}:
                self._add_usage(message.get("usage"))
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                yield from self._decode_block(index, block)
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)}:
                yield from self._decode_delta(index, delta)
            case {"type": "message_delta"}:
                self._add_usage(found.get("usage"))
                self._set_finish_reason(found.get("delta"))
            case {"type": "message_stop"}:
                self._finish_reason = self._finish_reason or "stop"
                self.finished = self.finish()
            case {"type": "message", "content": [*blocks]}:
                yield from self._decode_message(found, blocks)
            case _:
                pass  # ping, content_block_stop, and unknown events

    def _decode_message(self, found: Json, blocks: list[object]) -> Iterator[Delta]:
        for index, block in enumerate(blocks):
            if isinstance(block, dict):
                yield from self._decode_block(index, block)
        self._add_usage(found.get("usage"))
        self._set_finish_reason(found)
        self.finished = self.finish()

    def _decode_block(self, index: int, block: Json) -> Iterator[Delta]:
        """Yields the content of a new block: usually empty in a stream, complete in a whole message."""
        match block:
            case {"type": "text", "text": str(text)}:
                yield from self._decode_delta(index, {"type": "text_delta", "text": text})
            case {"type": "thinking", "thinking": str(text)}:
                yield from self._decode_delta(index, {"type": "thinking_delta", "thinking": text})
            case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                call = self._tools.setdefault(index, len(self._tools))
                arguments = json.dumps(block["input"], ensure_ascii=False) if block.get("input") else ""
                yield ToolCallDelta(ToolCallFragment(index=call, id=id_, name=name, arguments=arguments))
            case _:
                pass

    def _decode_delta(self, index: int, delta: Json) -> Iterator[Delta]:
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                if new := self._continuation.drop_overlap(text):
                    yield TextDelta(new)
            case {"type": "thinking_delta", "thinking": str(text)} if text:
                yield ReasoningDelta(text)
            case {"type": "input_json_delta", "partial_json": str(text)} if text and index in self._tools:
                yield ToolCallDelta(ToolCallFragment(index=self._tools[index], arguments=text))
            case _:
                pass  # signatures and citations

    def _set_finish_reason(self, holder: object) -> None:
        match holder:
            case {"stop_reason": str(reason)} if reason:
                self._finish_reason = _STOP_REASONS.get(reason, reason)
            case _:
                pass

    def _add_usage(self, usage: object) -> None:
        """Records the usage. Each count is a running total: the last one replaces earlier ones."""
        if isinstance(usage, dict):
            self._usage |= {
                name: token_count(value) for name, value in usage.items() if isinstance(value, int)
            }

    def _total_usage(self) -> Usage:
        cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
        return Usage(
            input_tokens=sum(self._usage.get(name, 0) for name in ("input_tokens", *cached)),
            output_tokens=self._usage.get("output_tokens", 0),
        )
