"""The provider for servers with OpenAI's `/chat/completions`: OpenAI, vLLM, llama.cpp, DeepSeek, OpenRouter, ..."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any

from services.generator.providers import Delta, Finished, Prompt, listing, openai_chunks
from services.generator.providers.continuation import Continuation
from services.generator.providers.reply_decoder import ReplyDecoder, read_deltas
from services.generator.providers.upstream import Key, Reply, Upstream
from shared.domain.errors import ProviderRefused
from shared.domain.events import Json
from shared.settings import ProviderSettings, Settings

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_KEY_ENV = "OPENAI_API_KEY"

_ADJUSTMENTS_MAX = 2
_UNSUPPORTED_STATUSES = frozenset({400, 422})
_NO_CHAT_MODELS = re.compile(
    r"embedding|whisper|tts|dall-e|moderation|image|audio|realtime|transcribe|sora|babbage|davinci|-instruct"
)


class OpenAI:
    """A `Provider` for one server with OpenAI's chat completions. It owns its `Upstream`."""

    kind = "openai"
    pattern = ""

    def __init__(
        self, name: str, configured: ProviderSettings, settings: Settings, key: Key | None = None
    ) -> None:
        self.name = name
        self.context_tokens = configured.context_tokens
        self._upstream = Upstream(configured.base_url or DEFAULT_BASE_URL, settings, key=key)
        self._can_continue = configured.prefill is True

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:  # noqa: ARG002
        """Returns True only if `prefill` is configured: OpenAI starts again, and servers do not report what they do."""
        return self._can_continue

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        continuation = Continuation(prompt.prefill)
        body = openai_chunks.build_request(
            prompt, continuation.prefill, completion_tokens=self._upstream.host == "api.openai.com"
        )
        decoder = ReplyDecoder(openai_chunks.ChunkDecoder(continuation, self._upstream.error_in_stream))
        async with AsyncExitStack() as stack:
            reply = await self._post(stack, body)
            async with aclosing(read_deltas(reply, decoder)) as said:
                async for delta in said:
                    yield delta

    async def _post(self, stack: AsyncExitStack, body: Json) -> Reply:
        for _ in range(_ADJUSTMENTS_MAX):
            try:
                return await stack.enter_async_context(self._upstream.post("chat/completions", body))
            except ProviderRefused as error:
                better = openai_chunks.drop_unsupported(body, error.detail)
                if better is None or error.status not in _UNSUPPORTED_STATUSES:
                    raise
                body = better
        return await stack.enter_async_context(self._upstream.post("chat/completions", body))

    async def list_models(self) -> tuple[str, ...]:
        found = listing.model_names(await self._upstream.get("models"))
        if self._upstream.host == "api.openai.com":
            return tuple(name for name in found if not _NO_CHAT_MODELS.search(name))
        return found

    async def close(self) -> None:
        await self._upstream.close()
