"""The providers of a process: those that are configured, else those found in the environment, else the demo."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Self

from msgspec import Struct

from services.generator.providers import Provider, anthropic, ollama, openai
from services.generator.providers.anthropic import Anthropic
from services.generator.providers.demo import Demo
from services.generator.providers.ollama import Ollama
from services.generator.providers.openai import OpenAI
from services.generator.providers.storable import StorableProvider
from services.generator.providers.upstream import Key
from shared.domain.errors import ConfigurationError, ProviderError, ProviderRefused
from shared.domain.events import CatalogueAnnounced
from shared.logging import logger
from shared.settings import ProviderSettings, Settings

log = logger(__name__)

ANY_MODEL = ".+"
"""The pattern of a provider whose list could not be read: the provider itself rejects unknown models."""


class RegisteredProvider(Struct, frozen=True):
    """A provider and its configured models."""

    provider: Provider
    models: tuple[str, ...] = ()
    """Empty if the list is to be read from the provider."""


class Registry:
    """Finds providers by name. It owns them and closes them; the worker's process owns it."""

    def __init__(self, registered: Iterable[RegisteredProvider]) -> None:
        self._registered = {one.provider.name: one for one in registered}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._registered)

    def find(self, model: str) -> tuple[Provider, str]:
        """Returns the provider and the model's name for `provider/model`; the model's name may contain slashes.

        Raises `ProviderRefused` if there is no such provider.
        """
        name, _, rest = model.partition("/")
        if name not in self._registered or not rest:
            known = ", ".join(self.names)
            raise ProviderRefused(
                f"No provider is configured for the model {model!r}. Providers: {known}.", status=404
            )
        return self._registered[name].provider, rest

    async def list_catalogues(self) -> list[CatalogueAnnounced]:
        """Returns one catalogue per provider. A provider whose list cannot be read is announced with `ANY_MODEL`."""
        return list(await asyncio.gather(*(_fetch_catalogue(one) for one in self._registered.values())))

    async def close(self) -> None:
        """Closes all providers."""
        for one in self._registered.values():
            await one.provider.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def make_registry(settings: Settings, environ: Mapping[str, str]) -> Registry:
    """Returns the registry. If no provider is configured, it probes for Ollama, which takes up to a second.

    Raises `ConfigurationError` for a provider that cannot be set up.
    """
    tables = (
        dict(settings.providers)
        or await _discover(settings, environ)
        or {"demo": ProviderSettings(kind="demo")}
    )
    registry = Registry([_register(name, table, settings, environ) for name, table in tables.items()])
    log.info("providers", names=registry.names, configured=bool(settings.providers))
    return registry


async def _discover(settings: Settings, environ: Mapping[str, str]) -> dict[str, ProviderSettings]:
    """Returns providers that need no configuration file, by the variables that their own tools read."""
    found = {}
    if environ.get("OPENAI_API_KEY") or environ.get("OPENAI_BASE_URL"):
        found["openai"] = ProviderSettings(
            kind="openai",
            base_url=environ.get("OPENAI_BASE_URL", ""),
            api_key_env=_if_set("OPENAI_API_KEY", environ),
        )
    if environ.get("ANTHROPIC_API_KEY"):
        found["anthropic"] = ProviderSettings(
            kind="anthropic", base_url=environ.get("ANTHROPIC_BASE_URL", ""), api_key_env="ANTHROPIC_API_KEY"
        )
    base_url = ollama.host_url(environ.get("OLLAMA_HOST", ""))
    if await ollama.is_reachable(base_url, settings):
        found["ollama"] = ProviderSettings(kind="ollama", base_url=base_url)
    return found


def _if_set(variable: str, environ: Mapping[str, str]) -> str:
    return variable if environ.get(variable) else ""


def _register(
    name: str, table: ProviderSettings, settings: Settings, environ: Mapping[str, str]
) -> RegisteredProvider:
    try:
        return RegisteredProvider(
            StorableProvider(_make_provider(name, table, settings, environ)), table.models
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"provider {name!r}: {error}") from error


def _make_provider(
    name: str, table: ProviderSettings, settings: Settings, environ: Mapping[str, str]
) -> Provider:
    key = _read_key(name, table, environ)
    match table.kind:
        case "openai":
            return OpenAI(name, table, settings, key)
        case "anthropic":
            return Anthropic(name, table, settings, key)
        case "ollama":
            return Ollama(name, table, settings, key)
        case "demo":
            return Demo(name, table)


def _read_key(name: str, table: ProviderSettings, environ: Mapping[str, str]) -> Key | None:
    # A default variable applies to the default address only: OpenAI's key must not be sent to another server.
    usual = {"openai": openai.DEFAULT_KEY_ENV, "anthropic": anthropic.DEFAULT_KEY_ENV}
    variable = table.api_key_env or ("" if table.base_url else usual.get(table.kind, ""))
    if not variable:
        return None
    if value := environ.get(variable, "").strip():
        return Key(value)
    # Not an error: the other providers work, and this one rejects requests without a key by itself.
    log.warning("provider-key-missing", provider=name, variable=variable)
    return None


async def _fetch_catalogue(one: RegisteredProvider) -> CatalogueAnnounced:
    models, pattern = one.models, one.provider.pattern
    if not models:
        try:
            models = await one.provider.list_models()
        except ProviderError as error:
            log.warning("provider-list-missing", provider=one.provider.name, reason=error.detail)
            pattern = ANY_MODEL
    return CatalogueAnnounced(
        provider=one.provider.name, kind=one.provider.kind, models=models, pattern=pattern
    )
