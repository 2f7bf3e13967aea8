"""Anthropic, and servers that speak its Messages API."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from services.generator.providers import Delta, Finished, Prompt, anthropic_events, listing
from services.generator.providers.continuation import Continuation
from services.generator.providers.reading import Incoming, deltas
from services.generator.providers.upstream import Key, Upstream, versioned
from shared.settings import ProviderSettings, Settings

DEFAULT_BASE_URL = "https://api.anthropic.com"
DEFAULT_KEY_ENV = "ANTHROPIC_API_KEY"
API_VERSION = "2023-06-01"


class Anthropic:
    kind = "anthropic"
    pattern = ""

    def __init__(
        self, name: str, configured: ProviderSettings, settings: Settings, key: Key | None = None
    ) -> None:
        self.name = name
        self.context_tokens = configured.context_tokens
        self._prefill = configured.prefill
        self._output_tokens_max = settings.output_tokens_max
        self._upstream = Upstream(
            versioned(configured.base_url or DEFAULT_BASE_URL),
            settings,
            key=key,
            key_header="x-api-key",
            key_prefix="",
            headers={"anthropic-version": API_VERSION},
        )

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:
        """By the model's name, unless it is set; never with thinking on."""
        allowed = anthropic_events.takes_prefill(model) if self._prefill is None else self._prefill
        return allowed and not anthropic_events.thinks(params)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        continuation = Continuation(prompt.prefill)
        body = anthropic_events.request(prompt, continuation.sent, output_tokens_max=self._output_tokens_max)
        incoming = Incoming(anthropic_events.Messages(continuation, self._upstream.in_stream))
        async with self._upstream.post("messages", body) as reply, aclosing(deltas(reply, incoming)) as said:
            async for delta in said:
                yield delta

    async def models(self) -> tuple[str, ...]:
        return listing.names(await self._upstream.get("models?limit=1000"))

    async def close(self) -> None:
        await self._upstream.close()
