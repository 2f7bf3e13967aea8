"""Problem documents for malformed HTTP, and a limit on the size of a request's head."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.api.http.problems import MEDIA_TYPE, problem

HEAD_MAX_BYTES = 64 * 1024
"""Limit of the request line and headers together: uvicorn keeps them in memory until they are complete."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, one per connection, with two changes: a parse error is answered with a problem document,
    and a head of more than `HEAD_MAX_BYTES` with 431.
    """

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
        if self._head_bytes > HEAD_MAX_BYTES:
            self._refuse("head-too-large", f"The request line and headers exceed {HEAD_MAX_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        self._in_head = self._only_head = False
        self._head_bytes = 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse("bad-http", msg)

    def _refuse(self, type_: str, detail: str) -> None:
        response = problem(type_, detail)
        body = bytes(response.body)
        head = f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[response.status_code] + head.encode() + body)
        self.transport.close()
