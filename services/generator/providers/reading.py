"""From the bytes of a reply to deltas. `Incoming` is pure: bytes in, deltas out; `deltas` feeds it from a socket."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

from services.generator.providers import Delta, Finished
from services.generator.providers.sse import Body, ServerEvent
from services.generator.providers.upstream import Reply
from shared.domain.errors import ProviderInterrupted
from shared.domain.events import Json

FINISH_GRACE_SECONDS = 5.0
"""How long usage and end marker may take after the model has said that it is done."""


class Dialect(Protocol):
    """How one kind of API says things in its events. Pure; one per answer."""

    finished: Finished | None
    """Set when the end marker has come as an event."""

    @property
    def closing(self) -> bool:
        """The model is done: what is still to come is usage and the end marker, and an answer can do without."""
        ...

    def event(self, found: Json) -> Iterator[Delta]:
        """Raises `ProviderError` for an error object."""
        ...

    def ends(self, data: str) -> bool:
        """Whether this is an end marker that is no JSON."""
        ...

    def end(self) -> Finished:
        """The stream has ended. Raises `ProviderInterrupted` if it should not have."""
        ...


class Incoming:
    """The whole of one answer. The same bytes give the same deltas, in whatever pieces they come."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._body = Body()
        self.finished: Finished | None = None

    @property
    def closing(self) -> bool:
        return self._dialect.closing

    def receive(self, chunk: bytes) -> Iterator[Delta]:
        """No bytes mean the end of the stream. What comes after `finished` is set is passed over.

        Lazy, so that an error takes nothing away that came before it in the same bytes.
        """
        for event in self._body.feed(chunk) if chunk else self._body.end():
            if self.finished is not None:
                return
            yield from self._event(event)
        if not chunk and self.finished is None:
            self.finished = self._dialect.end()

    def _event(self, event: ServerEvent) -> Iterator[Delta]:
        if self._dialect.ends(event.data.strip()):
            self.finished = self._dialect.end()
        elif isinstance(found := self._parsed(event), dict):
            yield from self._dialect.event(found)
            self.finished = self._dialect.finished

    def _parsed(self, event: ServerEvent) -> object:
        """Not msgspec: it refuses the halves of a surrogate pair, which some providers send in two deltas."""
        if not event.data.strip():
            return None
        try:
            return json.loads(event.data)
        except (ValueError, RecursionError):
            # An event with a name that is no JSON is of a type that we do not know, such as `event: ping`.
            if self.closing or event.name not in {"", "message", "error"}:
                return None
            if event.name == "error":
                return {"error": event.data}
            raise ProviderInterrupted("The provider sent an event that is not JSON.") from None


async def deltas(reply: Reply, incoming: Incoming) -> AsyncGenerator[Delta | Finished, None]:
    """Ends with `Finished`, or raises."""
    while incoming.finished is None and not incoming.closing:
        for delta in incoming.receive(await reply.read()):
            yield delta
    # One deadline for all that may still come: a server that only sends comments now has nothing more to say.
    now = asyncio.get_running_loop().time
    deadline = now() + FINISH_GRACE_SECONDS
    while incoming.finished is None:
        try:
            chunk = await reply.read(max(0.0, deadline - now()))
        except ProviderInterrupted:
            chunk = b""
        for delta in incoming.receive(chunk):
            yield delta
    # Before `Finished` is given, since a reader that has it goes away.
    await reply.drain()
    yield incoming.finished
