"""Ollama: OpenAI's API at `/v1`, found by `OLLAMA_HOST` or on its usual port."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from services.generator.providers.openai import OpenAI
from services.generator.providers.upstream import Key, Upstream, versioned
from shared.domain.errors import ConfigurationError, ProviderError
from shared.settings import ProviderSettings, Settings

PORT = 11434
PROBE_SECONDS = 1.0
"""A start waits for it only when no provider is configured; one on this machine answers in a millisecond."""

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
"""Where a server listens is not always where one can call it."""
_SCHEME_PORTS = {"http": 80, "https": 443}


class Ollama(OpenAI):
    """Its prefill is off by default: whether it goes on with a text depends on each model's template."""

    kind = "ollama"

    def __init__(
        self, name: str, configured: ProviderSettings, settings: Settings, key: Key | None = None
    ) -> None:
        base_url = versioned(configured.base_url or host_url(""))
        super().__init__(name, msgspec.structs.replace(configured, base_url=base_url), settings, key)


def host_url(ollama_host: str) -> str:
    """From `OLLAMA_HOST` as Ollama itself reads it: `host`, `host:port`, `:port` or a URL, all parts optional."""
    text = ollama_host.strip().strip("\"'")
    scheme, separator, rest = text.rpartition("://")
    address, _, path = rest.partition("/")
    if address.count(":") > 1 and not address.startswith("["):  # IPv6 without its brackets
        address = f"[{address}]"
    try:
        parts = urlsplit(f"//{address}")
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"OLLAMA_HOST {ollama_host!r} is no address: {error}") from error
    host = _ANY_ADDRESS.get(parts.hostname or "", parts.hostname)
    # Only a URL has the ports that its scheme implies.
    port = port or (_SCHEME_PORTS.get(scheme, PORT) if separator else PORT)
    whole = f"{scheme or 'http'}://{f'[{host}]' if ':' in str(host) else host}:{port}"
    return f"{whole}/{path.strip('/')}".rstrip("/")


async def answers(base_url: str, settings: Settings) -> bool:
    """Whether an Ollama is there. Anything that does not say its version in time is none."""
    upstream = Upstream(base_url, settings)
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            found = await upstream.get("api/version")
    except (ProviderError, TimeoutError):
        return False
    else:
        return isinstance(found, Mapping) and "version" in found
    finally:
        await upstream.close()
