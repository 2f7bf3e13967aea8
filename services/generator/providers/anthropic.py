"""The provider for Anthropic and servers with its Messages API."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from services.generator.providers import Delta, Finished, Prompt, anthropic_events, listing
from services.generator.providers.continuation import Continuation
from services.generator.providers.reply_decoder import ReplyDecoder, read_deltas
from services.generator.providers.upstream import Key, Upstream, with_version
from shared.settings import ProviderSettings, Settings

DEFAULT_BASE_URL = "https://api.anthropic.com"
DEFAULT_KEY_ENV = "ANTHROPIC_API_KEY"
API_VERSION = "2023-06-01"


class Anthropic:
    """A `Provider` for one server with Anthropic's Messages API. It owns its `Upstream`."""

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
            with_version(configured.base_url or DEFAULT_BASE_URL),
            settings,
            key=key,
            key_header="x-api-key",
            key_prefix="",
            headers={"anthropic-version": API_VERSION},
        )

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:
        """Decides by the model's name, unless `prefill` is configured; returns False if thinking is on."""
        allowed = anthropic_events.supports_prefill(model) if self._prefill is None else self._prefill
        return allowed and not anthropic_events.has_thinking(params)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        continuation = Continuation(prompt.prefill)
        body = anthropic_events.build_request(
            prompt, continuation.prefill, output_tokens_max=self._output_tokens_max
        )
        decoder = ReplyDecoder(anthropic_events.MessageDecoder(continuation, self._upstream.error_in_stream))
        async with (
            self._upstream.post("messages", body) as reply,
            aclosing(read_deltas(reply, decoder)) as said,
        ):
            async for delta in said:
                yield delta

    async def list_models(self) -> tuple[str, ...]:
        return listing.model_names(await self._upstream.get("models?limit=1000"))

    async def close(self) -> None:
        await self._upstream.close()
