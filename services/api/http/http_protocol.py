"""HTTP itself: what is no HTTP request gets a problem document too, and a request's head has a bound."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.api.http.problems import MEDIA_TYPE, problem

HEAD_MAX_BYTES = 64 * 1024
"""Of a request line and its headers, which uvicorn keeps in memory until they are complete."""


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's own, but for what it answers when its parser gives up, and for the bound, which it does not have."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's own
        super().__init__(*arguments, **named)
        self._in_head = True
        self._only_head = True
        """Whether the bytes that came last are all of one head: what comes with the end of another is not counted."""
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._only_head = self._in_head
        super().data_received(data)
        if self._in_head and self._only_head:
            self._head_bytes += len(data)
        if self._head_bytes > HEAD_MAX_BYTES:
            self._refuse("head-too-large", f"It may have at most {HEAD_MAX_BYTES} bytes.")

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
