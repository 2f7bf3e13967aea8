"""The common part of all HTTP servers: binds a port and limits the head of a request."""

import socket
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from shared.domain.errors import ConfigurationError

_BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """Returns a socket that listens. Raises `ConfigurationError` if the port is taken or the host is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, one per connection, with a limit on the head of a request: uvicorn keeps a head in memory
    until it is complete.
    """

    head_max_bytes: ClassVar[int] = 64 * 1024
    """Limit of the request line and headers together."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self._in_head = True
        self._only_head = True
        """True if the newest bytes belong to one head alone. Bytes that also carry the end of another request are
        not counted.
        """
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._only_head = self._in_head
        super().data_received(data)
        if self._in_head and self._only_head:
            self._head_bytes += len(data)
        if self._head_bytes > self.head_max_bytes:
            self.refuse_head()

    def on_headers_complete(self) -> None:
        self._in_head = self._only_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def refuse_head(self) -> None:
        """Answers a head that is too large, and closes the connection."""
        self.respond_and_close(431, "text/plain; charset=utf-8", b"The head is too large.\n")

    def respond_and_close(self, status: int, media_type: str, body: bytes) -> None:
        """Writes a response without the application, for what is not a request."""
        head = f"content-type: {media_type}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()
