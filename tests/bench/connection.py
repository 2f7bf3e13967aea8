"""The HTTP/1.1 client of the load: one connection as a raw protocol, fast enough never to be the limit."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Self
from urllib.parse import urlsplit

import msgspec

from tests.bench.tokens import clock

Sink = Callable[[bytes, int], None]
"""Takes the next bytes of a body, and the stamp at which they were received. It gets no bytes when a body begins."""
ERRORS_FROM = 400
_NO_CONTENT = 204


class CallFailedError(Exception):
    """The server refused the call, or closed the connection before the end of its response."""


class Connection(asyncio.Protocol):
    """One connection with one request at a time. The caller of `open` closes it."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self.status = 0
        self._buffer = b""
        self._in_head = True
        self._chunked = False
        self._left = 0
        self._sink: Sink = _ignore
        self._done: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, url: str) -> Self:
        parts = urlsplit(url)
        _, connection = await asyncio.get_running_loop().create_connection(
            cls, parts.hostname or "", parts.port or 0
        )
        return connection

    @property
    def is_closing(self) -> bool:
        """Returns True if no further request can be sent."""
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.abort()

    async def call(self, method: str, path: str, body: object = None) -> bytes:
        """Returns the body of the response. Raises `CallFailedError`."""
        received = bytearray()
        await self.stream(method, path, lambda data, _: received.extend(data), body)
        return bytes(received)

    async def stream(
        self,
        method: str,
        path: str,
        sink: Sink,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Passes the body of the response to the sink as it comes. Returns at its end. Raises `CallFailedError`."""
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(content)}"]
        if content:
            lines.append("content-type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if self.is_closing:
            raise CallFailedError("the server closed the connection")
        refusal = bytearray()
        self._sink = lambda data, now: sink(data, now) if self.status < ERRORS_FROM else refusal.extend(data)
        self._done = asyncio.get_running_loop().create_future()
        self._transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        await self._done
        if self.status >= ERRORS_FROM:
            raise CallFailedError(f"{method} {path}: {self.status} {refusal[:300].decode(errors='replace')}")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # uvloop's is none of asyncio's classes

    def connection_lost(self, error: Exception | None) -> None:
        if self._done and not self._done.done():
            self._done.set_exception(CallFailedError(f"the connection broke: {error or 'closed'}"))

    def data_received(self, data: bytes) -> None:
        now = clock()
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        position = 0
        if self._in_head:
            position = data.find(b"\r\n\r\n") + 4
            if position < 4:
                self._buffer = data
                return
            self._read_head(data[:position])
            self._sink(b"", now)
        if self._chunked:
            self._read_chunks(data, position, now)
        else:
            self._left -= len(data) - position
            self._sink(data[position:], now)
            if self._left <= 0:
                self._finish()

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.lower().split(b"\r\n")
        self.status = int(first.split()[1])
        headers = dict(line.split(b": ", 1) for line in lines if b": " in line)
        self._in_head = False
        self._chunked = headers.get(b"transfer-encoding") == b"chunked" and self.status != _NO_CONTENT
        self._left = 0 if self._chunked else int(headers.get(b"content-length", 0))

    def _read_chunks(self, data: bytes, position: int, now: int) -> None:
        """Passes the whole and the broken chunks on, in one call of the sink."""
        pieces = []
        ended = False
        while position < len(data):
            if self._left:
                piece = data[position : position + self._left]
                pieces.append(piece)
                self._left -= len(piece)
                position += len(piece)
                continue
            # Two bytes end the chunk before: skip them with the line of the next size.
            start = position + 2 if data.startswith(b"\r\n", position) else position
            end = data.find(b"\r\n", start)
            size = int(data[start:end], 16) if end > start else None
            if size is None or (size == 0 and len(data) < end + 4):
                self._buffer = data[position:]
                break
            self._left, position = size, end + 2
            if size == 0:
                ended = True
                break
        if pieces:
            self._sink(b"".join(pieces), now)
        if ended:
            self._finish()

    def _finish(self) -> None:
        self._in_head, self._buffer = True, b""
        if self._done and not self._done.done():
            self._done.set_result(None)


def _ignore(_data: bytes, _now: int) -> None:
    """Drops what comes without a request."""
