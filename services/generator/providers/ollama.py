"""The provider for Ollama: OpenAI's API at `/v1`, located by `OLLAMA_HOST` or at its default port."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from services.generator.providers.openai import OpenAI
from services.generator.providers.upstream import Key, Upstream, with_version
from shared.domain.errors import ConfigurationError, ProviderError
from shared.hosts import host_to_call
from shared.settings import ProviderSettings, Settings

PORT = 11434
PROBE_SECONDS = 1.0
"""Timeout of the probe at the start, which happens only if no provider is configured."""

_SCHEME_PORTS = {"http": 80, "https": 443}


class Ollama(OpenAI):
    """A `Provider` for Ollama. Prefill is off by default, because each model's template decides whether it works."""

    kind = "ollama"

    def __init__(
        self, name: str, configured: ProviderSettings, settings: Settings, key: Key | None = None
    ) -> None:
        base_url = with_version(configured.base_url or host_url(""))
        super().__init__(name, msgspec.structs.replace(configured, base_url=base_url), settings, key)


def host_url(ollama_host: str) -> str:
    """Returns the URL for a value of `OLLAMA_HOST`, parsed as Ollama does: `host`, `host:port`, `:port` or a URL, all
    parts optional. Raises `ConfigurationError` for an invalid address.
    """
    text = ollama_host.strip().strip("\"'")
    scheme, separator, rest = text.rpartition("://")
    address, _, path = rest.partition("/")
    if address.count(":") > 1 and not address.startswith("["):  # IPv6 without its brackets
        address = f"[{address}]"
    try:
        parts = urlsplit(f"//{address}")
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"OLLAMA_HOST {ollama_host!r} is not a valid address: {error}") from error
    # Only a URL implies the default port of its scheme.
    port = port or (_SCHEME_PORTS.get(scheme, PORT) if separator else PORT)
    whole = f"{scheme or 'http'}://{host_to_call(parts.hostname or '')}:{port}"
    return f"{whole}/{path.strip('/')}".rstrip("/")


async def is_reachable(base_url: str, settings: Settings) -> bool:
    """Returns True if an Ollama at this URL reports its version within `PROBE_SECONDS`."""
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
