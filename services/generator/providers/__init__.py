"""Access to language models: one small interface, one module per kind of provider.

A provider turns a `Prompt` into deltas and one `Finished`. It keeps no state between calls, does not access
the log, and raises only `shared.domain.errors.ProviderError` and its subclasses.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal, Protocol

from msgspec import Struct

from shared.domain.events import Json, ToolCallFragment, Usage


class PromptMessage(Struct, frozen=True):
    """One message of a prompt."""

    role: Literal["user", "assistant"]
    text: str


class Prompt(Struct, frozen=True, kw_only=True):
    """A provider's input. `prefill` is the answer's text so far, which the provider continues without repeating it."""

    model: str
    messages: tuple[PromptMessage, ...]
    system: str | None = None
    params: Json = {}
    prefill: str = ""


class TextDelta(Struct, frozen=True):
    """A piece of the answer's text."""

    text: str


class ReasoningDelta(Struct, frozen=True):
    """A piece of the answer's reasoning."""

    text: str


class ToolCallDelta(Struct, frozen=True):
    """A fragment of a tool call."""

    fragment: ToolCallFragment


class Finished(Struct, frozen=True, kw_only=True):
    """The end of a provider's stream. A stream that stops without it was interrupted."""

    finish_reason: str
    usage: Usage = Usage()


Delta = TextDelta | ReasoningDelta | ToolCallDelta


class Provider(Protocol):
    """One configured provider. The registry owns it and closes it."""

    name: str
    kind: str
    pattern: str
    """A regular expression for model names that the list does not hold; see `CatalogueAnnounced`."""
    context_tokens: int

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:
        """Returns True if the model continues a `prefill`. After a crash, the answer then resumes without a reset.

        The same model may reject a prefill for some `params`, such as Anthropic's `thinking`.
        """
        ...

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yields deltas, then exactly one `Finished` as the last item.

        Closing the iterator (`aclose`) closes the connection to the provider at once. Raises
        `ProviderUnavailable` (only before the first delta), `ProviderRefused` or `ProviderInterrupted`.
        """
        ...

    async def list_models(self) -> tuple[str, ...]:
        """Returns the names of the current models, without the provider's name. Raises `ProviderError`."""
        ...

    async def close(self) -> None:
        """Closes all connections."""
        ...
