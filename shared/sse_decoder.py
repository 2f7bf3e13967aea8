"""Decodes event streams by their specification, from bytes in any chunks. Pure: no IO, no clock, no import of ours.

Lines end at CR, LF or both, and nowhere else: `str.splitlines` would also split at U+2028, U+0085 and others, which
occur in texts. A line that is fed byte by byte costs no more than one that is fed whole.

`httpx-sse` is not used: it does not limit the length of a line, holds back a line that ends in CR until more bytes
arrive, and takes a byte order mark for part of the first field.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

EVENT_MAX_BYTES = 16 * 1024 * 1024
"""More than a snapshot of the longest answer. Without a limit, a stream without line ends would fill the memory."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLong(ValueError):
    """An event exceeds the decoder's limit: its sender is not the server that was expected."""


class Frame(NamedTuple):
    """One event of a stream. `id` is None where the event has none of its own."""

    event: str
    data: str
    id: str | None = None


class SseDecoder:
    """Decodes one connection. `retry_milliseconds` is the newest that the stream asked for."""

    def __init__(self, event_max_bytes: int = EVENT_MAX_BYTES) -> None:
        self.retry_milliseconds: int | None = None
        self._max_bytes = event_max_bytes
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yields the events that the chunk completes. Raises `EventTooLong` after it has yielded the events before it."""
        if not chunk:
            return
        # A CR ends a line; an LF at the start of the next chunk belongs to the same line end.
        body = chunk[1:] if self._after_cr and chunk[0] == ord("\n") else chunk
        self._after_cr = chunk.endswith(b"\r")
        # Nearly all streams have no CR, and a split at one byte is much faster than a pattern.
        *lines, rest = _LINE_END.split(body) if b"\r" in body else body.split(b"\n")
        for line in lines:
            self._line += line
            if frame := self._take_line():
                yield frame
        self._line += rest
        self._check_size()

    def end(self) -> Iterator[Frame]:
        """Yields the last event of a stream that ended without the empty line after it.

        The specification drops that event. Call this only for streams whose servers leave out the last line end.
        """
        if self._line:
            self._take_line()
        if frame := self._dispatch():
            yield frame

    def _take_line(self) -> Frame | None:
        self._check_size()
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        # Only a line that is cut inside a character fails to decode; a complete line never does.
        name, _, value = line.decode("utf-8", "replace").partition(":")
        if name == "data":
            self._data.append(value.removeprefix(" "))
            self._size_bytes += len(line)
        else:
            self._take_field(name, value.removeprefix(" "))
        return None

    def _take_field(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._event = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_milliseconds = int(value)
            case _:  # A comment, which begins with a colon, or an unknown field.
                pass

    def _dispatch(self) -> Frame | None:
        frame = Frame(self._event or "message", "\n".join(self._data), self._id) if self._data else None
        self._event, self._data, self._id, self._size_bytes = "", [], None, 0
        return frame

    def _check_size(self) -> None:
        if self._size_bytes + len(self._line) > self._max_bytes:
            raise EventTooLong(f"an event of more than {self._max_bytes} bytes")
