"""Decodes the bytes of a reply to deltas. `ReplyDecoder` is pure; `read_deltas` feeds it from a socket."""

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import msgspec

from services.generator.providers import Delta, Finished
from services.generator.providers.sse import Body
from services.generator.providers.upstream import Reply
from shared.domain.errors import ProviderInterrupted
from shared.domain.events import Json
from shared.sse_decoder import Frame

FINISH_GRACE_SECONDS = 5.0
"""Time limit for usage and end marker after the finish reason."""


class Dialect(Protocol):
    """Decodes the events of one kind of API. Pure; one instance per attempt."""

    finished: Finished | None
    """Set when an event was the end marker."""

    @property
    def is_complete(self) -> bool:
        """True after the finish reason: only usage and the end marker may follow, and both are optional."""
        ...

    def decode(self, found: Json) -> Iterator[Delta]:
        """Yields the deltas of one event. Raises `ProviderError` for an error object."""
        ...

    def take_end_marker(self, data: str) -> bool:
        """Returns True if the data is an end marker that is not JSON, and remembers it."""
        ...

    def finish(self) -> Finished:
        """Returns the end of the answer. Raises `ProviderInterrupted` if the stream ended before the answer did."""
        ...


class ReplyDecoder:
    """Decodes the body of one reply. The deltas do not depend on how the bytes are split into chunks."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._body = Body()
        self.finished: Finished | None = None

    @property
    def is_complete(self) -> bool:
        return self._dialect.is_complete

    def feed(self, chunk: bytes) -> Iterator[Delta]:
        """Yields the deltas of a chunk; an empty chunk ends the stream. Ignores everything after `finished` is set.

        It is lazy: an error does not lose the deltas before it in the same chunk.
        """
        for event in self._body.feed(chunk) if chunk else self._body.end():
            if self.finished is not None:
                return
            yield from self._decode(event)
        if not chunk and self.finished is None:
            self.finished = self._dialect.finish()

    def _decode(self, event: Frame) -> Iterator[Delta]:
        if self._dialect.take_end_marker(event.data.strip()):
            self.finished = self._dialect.finish()
        elif isinstance(found := self._parse(event), dict):
            yield from self._dialect.decode(found)
            self.finished = self._dialect.finished

    def _parse(self, event: Frame) -> object:
        """Returns the event's JSON, or None to skip it.

        msgspec is several times faster than `json`, and rejects lone surrogates, which some providers send: they split
        a surrogate pair over two deltas.
        """
        try:
            return msgspec.json.decode(event.data)
        except (msgspec.MsgspecError, RecursionError):
            pass
        if not event.data.strip():
            return None
        try:
            return json.loads(event.data)
        except (ValueError, RecursionError):
            # A named event without JSON is of an unknown type, such as `event: ping`.
            if self.is_complete or event.event not in {"message", "error"}:
                return None
            if event.event == "error":
                return {"error": event.data}
            raise ProviderInterrupted("The provider sent an event that is not JSON.") from None


async def read_deltas(reply: Reply, decoder: ReplyDecoder) -> AsyncGenerator[Delta | Finished, None]:
    """Yields the deltas of a reply, then `Finished`. Raises `ProviderError` if the reply breaks off or has an error."""
    while decoder.finished is None and not decoder.is_complete:
        for delta in decoder.feed(await reply.read()):
            yield delta
    # One deadline for the rest, because a server may send comments without end.
    now = asyncio.get_running_loop().time
    deadline = now() + FINISH_GRACE_SECONDS
    while decoder.finished is None:
        try:
            chunk = await reply.read(max(0.0, deadline - now()))
        except ProviderInterrupted:
            chunk = b""
        for delta in decoder.feed(chunk):
            yield delta
    # Drain before `Finished`: its reader closes this generator.
    await reply.drain()
    yield decoder.finished
