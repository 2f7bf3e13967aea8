"""Event streams as their specification has them, from bytes in any pieces. Pure: no IO, no clock.

Lines end at CR, LF or both, and nowhere else: U+2028 and U+0085 stand in texts. An event that the stream
was cut off in is no event. A line may be fed byte by byte, and costs no more than fed whole.
"""

import re
from collections.abc import Iterator

from msgspec import Struct

EVENT_MAX_BYTES = 16 * 1024 * 1024
"""More than a snapshot of the longest answer; without a bound, a stream without line ends would fill the memory."""

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLong(ValueError):
    """What is being received is longer than any event of ours: whoever sends it is not our server."""


class Frame(Struct, frozen=True):
    """One event as it came. `id` is None where the event has none of its own."""

    event: str
    data: str
    id: str | None = None


class SseDecoder:
    """One per connection. `retry_milliseconds` is the newest that the stream asked for."""

    def __init__(self) -> None:
        self.retry_milliseconds: int | None = None
        self._line = bytearray()
        self._after_cr = False
        self._first = True
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Raises `EventTooLong`, after the events before it were given."""
        if not chunk:
            return
        # A line is done at its CR, without waiting for more; an LF at the head of the next chunk belongs to it.
        start = 1 if self._after_cr and chunk[0] == ord("\n") else 0
        self._after_cr = chunk.endswith(b"\r")
        for end in _LINE_END.finditer(chunk, start):
            self._line += chunk[start : end.start()]
            start = end.end()
            if frame := self._take_line():
                yield frame
        self._line += chunk[start:]
        self._check_size()

    def _take_line(self) -> Frame | None:
        self._check_size()
        line = bytes(self._line)
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self._field(name, value.removeprefix(" "))
        self._size_bytes += len(line)
        return None

    def _field(self, name: str, value: str) -> None:
        match name:
            case "event":
                self._event = value
            case "data":
                self._data.append(value)
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdigit():
                self.retry_milliseconds = int(value)
            case _:  # a comment, which begins with a colon, or a field of a later day
                pass

    def _dispatch(self) -> Frame | None:
        frame = Frame(self._event or "message", "\n".join(self._data), self._id) if self._data else None
        self._event, self._data, self._id, self._size_bytes = "", [], None, 0
        return frame

    def _check_size(self) -> None:
        if self._size_bytes + len(self._line) > EVENT_MAX_BYTES:
            raise EventTooLong(f"an event of more than {EVENT_MAX_BYTES} bytes")
