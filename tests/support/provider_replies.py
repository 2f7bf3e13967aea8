"""Decodes the bytes of a provider without a socket, for tests of the decoders."""

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

from services.generator.providers import (
    Delta,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    provider_errors,
)
from services.generator.providers.anthropic_events import MessageDecoder
from services.generator.providers.continuation import Continuation
from services.generator.providers.openai_chunks import ChunkDecoder
from services.generator.providers.reply_decoder import ReplyDecoder
from shared.domain.errors import ProviderError
from shared.domain.events import ToolCallFragment

Api = Literal["openai", "anthropic"]


class Heard(Struct, frozen=True):
    """The deltas of a reply, and its end or its error."""

    deltas: tuple[Delta, ...]
    finished: Finished | None = None
    error: type[ProviderError] | None = None
    detail: str = ""

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, TextDelta))

    @property
    def reasoning(self) -> str:
        return "".join(delta.text for delta in self.deltas if isinstance(delta, ReasoningDelta))

    @property
    def tool_calls(self) -> tuple[ToolCallFragment, ...]:
        """Returns the joined tool calls by their index."""
        calls: dict[int, ToolCallFragment] = {}
        for delta in self.deltas:
            if isinstance(delta, ToolCallDelta):
                new = delta.fragment
                old = calls.get(new.index, ToolCallFragment(index=new.index))
                calls[new.index] = ToolCallFragment(
                    index=new.index,
                    id=old.id or new.id,
                    name=old.name or new.name,
                    arguments=old.arguments + new.arguments,
                )
        return tuple(calls[index] for index in sorted(calls))


def heard(api: Api, chunks: Iterable[bytes], prefill: str = "") -> Heard:
    """Decodes all chunks and the end of the stream."""
    decoder = _incoming(api, prefill)
    deltas: list[Delta] = []
    try:
        for chunk in (*chunks, b""):
            deltas.extend(decoder.feed(chunk)) if decoder.finished is None else None
    except ProviderError as error:
        return Heard(tuple(deltas), error=type(error), detail=error.detail)
    return Heard(tuple(deltas), finished=decoder.finished)


def _incoming(api: Api, prefill: str) -> ReplyDecoder:
    def complain(found: object, *, begun: bool) -> ProviderError:
        return provider_errors.error_in_stream(found, begun=begun, key=None)

    continuation = Continuation(prefill)
    return ReplyDecoder(
        ChunkDecoder(continuation, complain) if api == "openai" else MessageDecoder(continuation, complain)
    )
