"""All providers of a process: as configured, else whatever the environment gives, else the demo."""

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
"""The pattern of a provider whose list is not known: it decides itself what it has."""


class Registered(Struct, frozen=True):
    provider: Provider
    models: tuple[str, ...] = ()
    """As configured; empty if the provider is to be asked."""


class Registry:
    def __init__(self, registered: Iterable[Registered]) -> None:
        self._registered = {one.provider.name: one for one in registered}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._registered)

    def find(self, model: str) -> tuple[Provider, str]:
        """For `provider/model`, where the model's own name may hold slashes too."""
        name, _, rest = model.partition("/")
        if name not in self._registered or not rest:
            known = ", ".join(self.names)
            raise ProviderRefused(
                f"There is no provider for the model {model!r}. Providers: {known}.", status=404
            )
        return self._registered[name].provider, rest

    async def catalogues(self) -> list[CatalogueAnnounced]:
        """What each provider offers now. One that does not answer hides neither itself nor the others."""
        return list(await asyncio.gather(*(_catalogue(one) for one in self._registered.values())))

    async def close(self) -> None:
        for one in self._registered.values():
            await one.provider.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def configured(settings: Settings, environ: Mapping[str, str]) -> Registry:
    """Raises `ConfigurationError`. Takes up to a second, if no provider is configured, to look for an Ollama."""
    tables = (
        dict(settings.providers) or await _found(settings, environ) or {"demo": ProviderSettings(kind="demo")}
    )
    registry = Registry([_registered(name, table, settings, environ) for name, table in tables.items()])
    log.info("providers", names=registry.names, configured=bool(settings.providers))
    return registry


async def _found(settings: Settings, environ: Mapping[str, str]) -> dict[str, ProviderSettings]:
    """The providers that are there without a word in a file, by the variables that their own tools read."""
    found = {}
    if environ.get("OPENAI_API_KEY") or environ.get("OPENAI_BASE_URL"):
        found["openai"] = ProviderSettings(
            kind="openai",
            base_url=environ.get("OPENAI_BASE_URL", ""),
            api_key_env=_set("OPENAI_API_KEY", environ),
        )
    if environ.get("ANTHROPIC_API_KEY"):
        found["anthropic"] = ProviderSettings(
            kind="anthropic", base_url=environ.get("ANTHROPIC_BASE_URL", ""), api_key_env="ANTHROPIC_API_KEY"
        )
    base_url = ollama.host_url(environ.get("OLLAMA_HOST", ""))
    if await ollama.answers(base_url, settings):
        found["ollama"] = ProviderSettings(kind="ollama", base_url=base_url)
    return found


def _set(variable: str, environ: Mapping[str, str]) -> str:
    return variable if environ.get(variable) else ""


def _registered(
    name: str, table: ProviderSettings, settings: Settings, environ: Mapping[str, str]
) -> Registered:
    try:
        return Registered(StorableProvider(_made(name, table, settings, environ)), table.models)
    except ConfigurationError as error:
        raise ConfigurationError(f"provider {name!r}: {error}") from error


def _made(name: str, table: ProviderSettings, settings: Settings, environ: Mapping[str, str]) -> Provider:
    key = _key(name, table, environ)
    match table.kind:
        case "openai":
            return OpenAI(name, table, settings, key)
        case "anthropic":
            return Anthropic(name, table, settings, key)
        case "ollama":
            return Ollama(name, table, settings, key)
        case "demo":
            return Demo(name, table)


def _key(name: str, table: ProviderSettings, environ: Mapping[str, str]) -> Key | None:
    # A kind's usual variable counts for its usual address only: OpenAI's key is never sent to anybody else.
    usual = {"openai": openai.DEFAULT_KEY_ENV, "anthropic": anthropic.DEFAULT_KEY_ENV}
    variable = table.api_key_env or ("" if table.base_url else usual.get(table.kind, ""))
    if not variable:
        return None
    if value := environ.get(variable, "").strip():
        return Key(value)
    # Not an error: the other providers work, and this one says itself that it wants a key.
    log.warning("provider-key-missing", provider=name, variable=variable)
    return None


async def _catalogue(one: Registered) -> CatalogueAnnounced:
    models, pattern = one.models, one.provider.pattern
    if not models:
        try:
            models = await one.provider.models()
        except ProviderError as error:
            log.warning("provider-list-missing", provider=one.provider.name, reason=error.detail)
            pattern = ANY_MODEL
    return CatalogueAnnounced(
        provider=one.provider.name, kind=one.provider.kind, models=models, pattern=pattern
    )
