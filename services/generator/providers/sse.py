"""Event streams as their specification has them, from bytes in any pieces. Pure: no IO, no clock.

`httpx-sse` is not used here: it has no bound on a line, keeps a line that ends in CR until more comes,
takes a byte order mark for a part of the first field, and drops the last event if the stream ends
without an empty line, as several providers' streams do.
"""

import re
from collections.abc import Iterator

from msgspec import Struct

from shared.domain.errors import ProviderInterrupted

EVENT_MAX_BYTES = 8 * 1024 * 1024
"""No provider comes near; without a bound, a stream without line ends would fill the memory."""

_BOM = b"\xef\xbb\xbf"
_PREAMBLE = b" \t\r\n" + _BOM
"""Neither an event nor a document begins with any of these bytes."""
# Bytes, and these only: `str.splitlines` also splits at U+2028, U+0085 and others, which stand in models' texts.
_LINE_END = re.compile(rb"\r\n|\n|\r")


class ServerEvent(Struct, frozen=True):
    data: str
    name: str = ""


class Decoder:
    """Lines to events. Comments, `id` and `retry` mean nothing to us and are passed over."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._name = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
        """Raises `ProviderInterrupted` on an event that is too long: after those before it were given."""
        if not chunk:
            return
        # A line is done at its CR; an LF that comes in the next chunk belongs to the same line end.
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
        """The last event, if the stream ended before the empty line that should end it."""
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
        # Cut in the middle of a character, the stream is broken, but a whole line never is.
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
    """The body of an answer: a stream of events, or one JSON document, which some proxies send in its place.

    The first byte decides, not the content type: both come under the other's name. A document
    becomes one event when it has ended.
    """

    def __init__(self) -> None:
        self._events: Decoder | None = None
        self._document: bytearray | None = None

    def feed(self, chunk: bytes) -> Iterator[ServerEvent]:
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
        if self._document is not None:
            yield ServerEvent(self._document.decode("utf-8", "replace"))
        elif self._events is not None:
            yield from self._events.end()

    def _collect(self, chunk: bytes) -> None:
        assert self._document is not None  # noqa: S101 - the caller has looked
        self._document += chunk
        if len(self._document) > EVENT_MAX_BYTES:
            raise ProviderInterrupted(f"The provider sent a document of more than {EVENT_MAX_BYTES} bytes.")
