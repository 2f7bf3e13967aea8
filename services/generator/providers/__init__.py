"""Speaking to language models: one small interface, one module per kind of provider.

A provider turns a `Prompt` into deltas and one `Finished`. It keeps no state between calls, knows
nothing of the log, and raises only `shared.domain.errors.ProviderError` and its subclasses.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct

from shared.domain.events import Json, ToolCallFragment, Usage


class PromptMessage(Struct, frozen=True):
    role: Literal["user", "assistant"]
    text: str


class Prompt(Struct, frozen=True, kw_only=True):
    """What a provider is asked. `prefill` is the answer's text so far, to be gone on with, not repeated."""

    model: str
    messages: tuple[PromptMessage, ...]
    system: str | None = None
    params: Json = {}
    prefill: str = ""


class TextDelta(Struct, frozen=True):
    text: str


class ReasoningDelta(Struct, frozen=True):
    text: str


class ToolCallDelta(Struct, frozen=True):
    fragment: ToolCallFragment


class Finished(Struct, frozen=True, kw_only=True):
    """The provider's own end of the stream. A stream that stops without it was interrupted."""

    finish_reason: str
    usage: Usage = Usage()


Delta = TextDelta | ReasoningDelta | ToolCallDelta


class Provider(Protocol):
    """One configured provider."""

    name: str
    kind: str
    pattern: str
    """As in `CatalogueAnnounced`."""
    context_tokens: int

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:
        """Whether a `prefill` is gone on with: decides between a pause and a reset after a crash.

        The same model may refuse a prefill for some `params`, such as Anthropic's `thinking`.
        """
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Ends after `Finished`, which comes exactly once and last.

        Closing the iterator (`aclose`) closes the connection to the provider at once. Raises
        `ProviderUnavailable` (only before the first delta), `ProviderRefused` or `ProviderInterrupted`.
        """
        ...

    async def models(self) -> tuple[str, ...]:
        """The models on offer now, without the provider's name. Raises `ProviderError`."""
        ...

    async def close(self) -> None: ...
