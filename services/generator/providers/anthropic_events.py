"""Anthropic's Messages API, as events. Pure.

What is translated of a request's params, and nothing else is: `max_output_tokens` becomes `max_tokens`, which is
obligatory; `stop` becomes `stop_sequences`. `temperature`, `top_p`, `top_k`, `tools`, `thinking` and all others
go as they came, so tools have Anthropic's form here. `model`, `messages`, `system` and `stream` are ours.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from services.generator.providers import Delta, Finished, Prompt, ReasoningDelta, TextDelta, ToolCallDelta
from services.generator.providers.complaints import InStream
from services.generator.providers.continuation import Continuation
from services.generator.providers.usage import count
from shared.domain.errors import ProviderInterrupted
from shared.domain.events import Json, ToolCallFragment, Usage

_TAKES_PREFILL = re.compile(
    r"(?:^|[/.])claude-(?:"
    r"(?:instant|2|3)(?![0-9])"
    r"|(?:opus|sonnet|haiku)-4(?:-[0-5])?(?:[-@](?:20[0-9]{6}|latest))?(?:-v[0-9:]+)?$"
    r")"
)
"""Claude up to 4.5. From 4.6 on a prefill is refused, and so are, for all that we know, models not yet made."""

_STOP_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


def takes_prefill(model: str) -> bool:
    return bool(_TAKES_PREFILL.search(model))


def thinks(params: Mapping[str, Any] | None) -> bool:
    """With thinking on, no model takes a prefill."""
    match (params or {}).get("thinking"):
        case {"type": "disabled"} | None:
            return False
        case _:
            return True


def request(prompt: Prompt, sent_prefill: str, *, output_tokens_max: int) -> Json:
    body = dict(prompt.params)
    limit = body.pop("max_output_tokens", None)
    if limit is not None:
        body["max_tokens"] = limit
    body.setdefault("max_tokens", output_tokens_max)
    if (stop := body.pop("stop", None)) is not None:
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    # A text without anything is refused: such as an answer that was cancelled before its first word.
    messages = [
        {"role": message.role, "content": message.text} for message in prompt.messages if message.text.strip()
    ]
    if sent_prefill:
        messages.append({"role": "assistant", "content": sent_prefill})
    body |= {"model": prompt.model, "messages": messages, "stream": True}
    return body | ({"system": prompt.system} if prompt.system else {})


class Messages:
    """The `Dialect` of a message as a stream; a message that comes whole counts as one event."""

    def __init__(self, continuation: Continuation, complain: InStream) -> None:
        self.finished: Finished | None = None
        self._continuation = continuation
        self._complain = complain
        self._begun = False
        self._tools: dict[int, int] = {}
        self._finish_reason = ""
        self._usage: dict[str, int] = {}

    @property
    def closing(self) -> bool:
        return bool(self._finish_reason)

    def ends(self, data: str) -> bool:
        return data == "[DONE]"  # from servers that are Anthropic's on the outside only

    def end(self) -> Finished:
        if not self._finish_reason:
            raise ProviderInterrupted("The provider's stream ended in the middle of the answer.")
        return Finished(finish_reason=self._finish_reason, usage=self._counted())

    def event(self, found: Json) -> Iterator[Delta]:
        for delta in self._deltas(found):
            self._begun = True
            yield delta

    def _deltas(self, found: Json) -> Iterator[Delta]:
        match found:
            case {"type": "error"} | {"error": dict() | str()}:
                raise self._complain(found, begun=self._begun)
            case {"type": "message_start", "message": dict(message)}:
                self._count(message.get("usage"))
            case {"type": "content_block_start", "index": int(index), "content_block": dict(block)}:
                yield from self._block(index, block)
            case {"type": "content_block_delta", "index": int(index), "delta": dict(delta)}:
                yield from self._delta(index, delta)
            case {"type": "message_delta"}:
                self._count(found.get("usage"))
                self._stop(found.get("delta"))
            case {"type": "message_stop"}:
                self._finish_reason = self._finish_reason or "stop"
                self.finished = self.end()
            case {"type": "message", "content": [*blocks]}:
                yield from self._message(found, blocks)
            case _:
                pass  # ping, content_block_stop, and whatever is still to be invented

    def _message(self, found: Json, blocks: list[object]) -> Iterator[Delta]:
        for index, block in enumerate(blocks):
            if isinstance(block, dict):
                yield from self._block(index, block)
        self._count(found.get("usage"))
        self._stop(found)
        self.finished = self.end()

    def _block(self, index: int, block: Json) -> Iterator[Delta]:
        """A block begins, mostly empty; in a message that comes whole, it is all there."""
        match block:
            case {"type": "text", "text": str(text)}:
                yield from self._delta(index, {"type": "text_delta", "text": text})
            case {"type": "thinking", "thinking": str(text)}:
                yield from self._delta(index, {"type": "thinking_delta", "thinking": text})
            case {"type": "tool_use", "id": str(id_), "name": str(name)}:
                call = self._tools.setdefault(index, len(self._tools))
                arguments = json.dumps(block["input"], ensure_ascii=False) if block.get("input") else ""
                yield ToolCallDelta(ToolCallFragment(index=call, id=id_, name=name, arguments=arguments))
            case _:
                pass

    def _delta(self, index: int, delta: Json) -> Iterator[Delta]:
        match delta:
            case {"type": "text_delta", "text": str(text)}:
                if new := self._continuation.after(text):
                    yield TextDelta(new)
            case {"type": "thinking_delta", "thinking": str(text)} if text:
                yield ReasoningDelta(text)
            case {"type": "input_json_delta", "partial_json": str(text)} if text and index in self._tools:
                yield ToolCallDelta(ToolCallFragment(index=self._tools[index], arguments=text))
            case _:
                pass  # signatures and citations

    def _stop(self, holder: object) -> None:
        match holder:
            case {"stop_reason": str(reason)} if reason:
                self._finish_reason = _STOP_REASONS.get(reason, reason)
            case _:
                pass

    def _count(self, usage: object) -> None:
        """Each count is a total: the last one that is told holds."""
        if isinstance(usage, dict):
            self._usage |= {name: count(value) for name, value in usage.items() if isinstance(value, int)}

    def _counted(self) -> Usage:
        cached = ("cache_creation_input_tokens", "cache_read_input_tokens")
        return Usage(
            input_tokens=sum(self._usage.get(name, 0) for name in ("input_tokens", *cached)),
            output_tokens=self._usage.get("output_tokens", 0),
        )
