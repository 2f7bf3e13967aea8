"""The models that generators announced last. The API itself never calls a provider."""

import re
import time

from msgspec import Struct

from shared.domain.errors import LogUnavailable, UnknownModel
from shared.domain.events import CatalogueAnnounced
from shared.domain.subjects import MODELS_SUBJECTS
from shared.log.protocol import Log
from shared.settings import Settings

_FRESH_SECONDS = 2.0
_SHOWN_MAX = 10


class Model(Struct, frozen=True):
    """One model of a provider, named `provider/model`."""

    id: str
    provider: str
    kind: str


class Catalogue:
    """Lists and resolves models. It reads the log at most every two seconds. The app owns it."""

    def __init__(self, log_: Log, settings: Settings) -> None:
        self._log = log_
        self._settings = settings
        self._known: list[CatalogueAnnounced] = []
        self._read_at = float("-inf")

    async def models(self) -> list[Model]:
        """Returns the listed models of all providers, the default model first. Raises `LogUnavailable`."""
        await self._refresh()
        found = [Model(f"{c.provider}/{name}", c.provider, c.kind) for c in self._known for name in c.models]
        return sorted(found, key=lambda model: model.id != self._settings.default_model)

    async def resolve(self, model: str | None) -> str:
        """Returns a model's full name; for None that of the default model. Raises `UnknownModel` or `LogUnavailable`."""
        wanted = model or self._settings.default_model
        await self._refresh()
        if not wanted:
            first = next(((c.provider, c.models[0]) for c in self._known if c.models), None)
            if first is None:
                raise LogUnavailable("no generator has announced its models yet")
            return "/".join(first)
        found = {name for c in self._known if (name := _name_in(c, wanted))}
        if len(found) != 1:
            listed = [f"{c.provider}/{name}" for c in self._known for name in c.models]
            raise UnknownModel(wanted, listed[:_SHOWN_MAX])
        return found.pop()

    async def _refresh(self) -> None:
        if time.monotonic() - self._read_at < _FRESH_SECONDS:
            return
        try:
            stored = await self._log.latest(MODELS_SUBJECTS)
        except LogUnavailable:
            if not self._known:
                raise
            return
        known = [one.event for one in stored if isinstance(one.event, CatalogueAnnounced)]
        self._known = sorted(known, key=lambda c: (c.kind == "demo", c.provider))
        self._read_at = time.monotonic() if known else float("-inf")


def _name_in(catalogue: CatalogueAnnounced, wanted: str) -> str | None:
    """Returns the full name: for `provider/model`, or for a bare name that is listed. Names may contain slashes."""
    provider, slash, name = wanted.partition("/")
    if slash and provider == catalogue.provider:
        open_ended = catalogue.pattern and re.fullmatch(catalogue.pattern, name)
        return wanted if name in catalogue.models or open_ended else None
    return f"{catalogue.provider}/{wanted}" if wanted in catalogue.models else None
