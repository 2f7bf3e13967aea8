"""Decodes the body of a provider's reply, which is a stream of events or one document. Pure."""

from collections.abc import Iterator

from shared.domain.errors import ProviderInterrupted
from shared.sse_decoder import EventTooLong, Frame, SseDecoder

EVENT_MAX_BYTES = 8 * 1024 * 1024
"""Limits the memory for a stream without line ends. Events of providers are far smaller."""

_BOM = b"\xef\xbb\xbf"
_PREAMBLE = b" \t\r\n" + _BOM
"""Bytes to skip before the first event or document."""


class Body:
    """Decodes one body: a stream of events, or one JSON document, which some proxies send instead.

    The first byte decides, because the content type is not reliable. A document becomes one event at its end.
    """

    def __init__(self) -> None:
        self._events: SseDecoder | None = None
        self._document: bytearray | None = None

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yields the events that the chunk completes. Raises `ProviderInterrupted` if the event is too long."""
        if self._document is None and self._events is None:
            chunk = chunk.lstrip(_PREAMBLE)
            if chunk[:1] in {b"{", b"["}:
                self._document = bytearray()
            elif chunk:
                self._events = SseDecoder(EVENT_MAX_BYTES)
        if self._document is not None:
            self._collect(chunk)
        elif self._events is not None:
            try:
                yield from self._events.feed(chunk)
            except EventTooLong as error:
                raise ProviderInterrupted(f"The provider sent {error}.") from None

    def end(self) -> Iterator[Frame]:
        """Yields the document, or the last event: several providers leave out the empty line after it."""
        if self._document is not None:
            yield Frame("message", self._document.decode("utf-8", "replace"))
        elif self._events is not None:
            yield from self._events.end()

    def _collect(self, chunk: bytes) -> None:
        assert self._document is not None  # noqa: S101 - the caller checked it
        self._document += chunk
        if len(self._document) > EVENT_MAX_BYTES:
            raise ProviderInterrupted(f"The provider sent a document of more than {EVENT_MAX_BYTES} bytes.")
