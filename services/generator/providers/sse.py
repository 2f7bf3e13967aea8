"""Decodes event streams by their specification, from bytes in any chunks. Pure.

`httpx-sse` is not used: it does not limit the length of a line, holds back a line that ends in CR until more
bytes arrive, takes a byte order mark for part of the first field, and drops the last event if the stream
ends without an empty line, which several providers' streams do.
"""

import re
from collections.abc import Iterator

from msgspec import Struct

from shared.domain.errors import ProviderInterrupted

EVENT_MAX_BYTES = 8 * 1024 * 1024
"""Limits the memory for a stream without line ends. Events of providers are far smaller."""

_BOM = b"\xef\xbb\xbf"
_PREAMBLE = b" \t\r\n" + _BOM
"""Bytes to skip before the first event or document."""
# `str.splitlines` would also split at U+2028, U+0085 and others, which occur in the texts of models.
_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerEvent(Struct, frozen=True):
    """One event of a stream."""

    data: str
    name: str = ""


class Decoder:
    """Decodes one stream of events. Ignores comments, `id` and `retry`."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Yields the events that the chunk completes. Raises `ProviderInterrupted` for an event that is too long, after
        it has yielded the events before it.
        """
        if not chunk:
            return
        # A CR ends a line; an LF at the start of the next chunk belongs to the same line end.
        start = 1 if self._after_cr and chunk[0] == ord("\n") else 0
        self._after_cr = chunk.endswith(b"\r")
        for end in _LINE_END.finditer(chunk, start):
            self._line += chunk[start : end.start()]
            start = end.end()
            if event := self._take_line():
                yield event
        self._line += chunk[start:]
        self._check_size()

    def end(self) -> Iterator[ServerEvent]:
        """Yields the last event if the stream ended without the empty line after it."""
        if self._line:
            self._take_line()
        if event := self._dispatch():
            yield event

    def _take_line(self) -> ServerEvent | None:
        self._check_size()
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        # Only a stream that is cut inside a character fails to decode; a complete line never does.
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(line)
        elif name == "event":
            self._name = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        event = ServerEvent("\n".join(self._data), self._name) if self._data else None
        self._data, self._name, self._size = [], "", 0
        return event

    def _check_size(self) -> None:
        if self._size + len(self._line) > EVENT_MAX_BYTES:
            raise ProviderInterrupted(f"The provider sent an event of more than {EVENT_MAX_BYTES} bytes.")


class Body:
    """Decodes one body: a stream of events, or one JSON document, which some proxies send instead.

    The first byte decides, because the content type is not reliable. A document becomes one event at its end.
    """

    def __init__(self) -> None:
        self._events: Decoder | None = None
        self._document: bytearray | None = None

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Yields the events that the chunk completes. Raises `ProviderInterrupted` if the event is too long."""
        if self._document is None and self._events is None:
            chunk = chunk.lstrip(_PREAMBLE)
            if chunk[:1] in {b"{", b"["}:
                self._document = bytearray()
            elif chunk:
                self._events = Decoder()
        if self._document is not None:
            self._collect(chunk)
        elif self._events is not None:
            yield from self._events.feed(chunk)

    def end(self) -> Iterator[ServerEvent]:
        """Yields the document, or the last event of a stream that ended without an empty line."""
        if self._document is not None:
            yield ServerEvent(self._document.decode("utf-8", "replace"))
        elif self._events is not None:
            yield from self._events.end()

    def _collect(self, chunk: bytes) -> None:
        assert self._document is not None  # noqa: S101 - the caller checked it
        self._document += chunk
        if len(self._document) > EVENT_MAX_BYTES:
            raise ProviderInterrupted(f"The provider sent a document of more than {EVENT_MAX_BYTES} bytes.")
