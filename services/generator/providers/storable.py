"""Makes the output of models storable: Postgres rejects NUL, and UTF-8 cannot encode half of a surrogate pair."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from services.generator.providers import (
    Delta,
    Finished,
    Prompt,
    Provider,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
)
from shared.domain.events import ToolCallFragment

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def storable(text: str) -> str:
    """Joins surrogate pairs, and replaces characters that cannot be stored with U+FFFD."""
    if not _UNSTORABLE.search(text):
        return text
    joined = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    return _UNSTORABLE.sub(REPLACEMENT, joined)


class SurrogateJoiner:
    """Applies `storable` to text in pieces, for one stream: some providers split a surrogate pair over two deltas.

    It holds back a first half at the end of a piece until the next piece of the same text, or the end.
    """

    def __init__(self) -> None:
        self._halves: dict[tuple[str, int], str] = {}

    def clean(self, delta: Delta) -> Delta | None:
        """Returns the storable delta, or None if it holds back everything."""
        match delta:
            case TextDelta():
                text = self._join(("text", 0), delta.text)
                return TextDelta(text) if text else None
            case ReasoningDelta():
                text = self._join(("reasoning", 0), delta.text)
                return ReasoningDelta(text) if text else None
            case ToolCallDelta(fragment):
                arguments = self._join(("tool-call", fragment.index), fragment.arguments)
                if not (arguments or fragment.id or fragment.name):
                    return None
                return ToolCallDelta(
                    ToolCallFragment(
                        index=fragment.index,
                        id=storable(fragment.id),
                        name=storable(fragment.name),
                        arguments=arguments,
                    )
                )

    def flush(self) -> list[Delta]:
        """Returns a replacement for each half that is still held back."""
        left, self._halves = self._halves, {}
        return [_replacement(*key) for key in left]

    def _join(self, key: tuple[str, int], text: str) -> str:
        if not text:
            return text
        text = self._halves.pop(key, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            self._halves[key] = text[-1]
            text = text[:-1]
        return storable(text)


def _replacement(kind: str, index: int) -> Delta:
    match kind:
        case "text":
            return TextDelta(REPLACEMENT)
        case "reasoning":
            return ReasoningDelta(REPLACEMENT)
        case _:
            return ToolCallDelta(ToolCallFragment(index=index, arguments=REPLACEMENT))


class StorableProvider:
    """Wraps a provider so that its output is storable. It owns the inner provider and closes it."""

    def __init__(self, inner: Provider) -> None:
        self._inner = inner
        self.name = inner.name
        self.kind = inner.kind
        self.pattern = inner.pattern
        self.context_tokens = inner.context_tokens

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:
        return self._inner.can_continue(model, params)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        joiner = SurrogateJoiner()
        async with aclosing(self._inner.stream(prompt)) as deltas:
            async for delta in deltas:
                if isinstance(delta, Finished):
                    for late in joiner.flush():
                        yield late
                    yield msgspec.structs.replace(delta, finish_reason=storable(delta.finish_reason))
                elif clean := joiner.clean(delta):
                    yield clean

    async def list_models(self) -> tuple[str, ...]:
        return tuple(storable(model) for model in await self._inner.list_models())

    async def close(self) -> None:
        await self._inner.close()
