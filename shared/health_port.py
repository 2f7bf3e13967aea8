"""The small HTTP port of a process that serves nobody: `/livez`, `/readyz`, `/metrics`, for the platform.

It lives on the process' own loop, without a thread: where the loop hangs, `/livez` does not answer, which is what
it is asked for. One request per connection; its head has a bound in bytes and in time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from shared.domain.errors import ConfigurationError
from shared.logging import logger
from shared.metrics import may_scrape
from shared.settings import Settings

log = logger(__name__)

_HEAD_MAX_BYTES = 8 * 1024
_REQUEST_SECONDS = 5.0
_TEXT = "text/plain; charset=utf-8"


class HealthPort:
    def __init__(
        self,
        port: int,
        settings: Settings,
        *,
        not_ready: Callable[[], str],
        measure: Callable[[], None],
        registry: Collector = REGISTRY,
    ) -> None:
        """`not_ready` says why, or nothing; `measure` brings what a scrape shows up to date."""
        self._port = port
        self._settings = settings
        self._not_ready = not_ready
        self._measure = measure
        self._registry = registry

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Nothing is opened when the port is 0. Raises `ConfigurationError` when it is taken."""
        host, port = self._settings.host, self._port
        if not port:
            yield
            return
        try:
            server = await asyncio.start_server(self._serve, host, port, limit=_HEAD_MAX_BYTES)
        except OSError as error:
            raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}") from error
        log.info("health-port", host=host, port=port)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(_REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head.decode("latin-1")))
                await writer.drain()
        writer.close()

    def _response(self, head: str) -> bytes:
        line, *fields = head.split("\r\n")
        method, path = [*line.split(" "), "", ""][:2]
        headers = {
            name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)
        }
        if method not in {"GET", "HEAD"}:
            return _message(HTTPStatus.METHOD_NOT_ALLOWED, b"")
        status, kind, body = self._answer(path.partition("?")[0], headers.get("authorization", ""))
        return _message(status, body, kind, without_body=method == "HEAD")

    def _answer(self, path: str, authorization: str) -> tuple[HTTPStatus, str, bytes]:
        match path:
            case "/livez":
                return HTTPStatus.OK, _TEXT, b"ok\n"
            case "/readyz":
                why = self._not_ready()
                status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
                return status, _TEXT, f"{why or 'ok'}\n".encode()
            case "/metrics" if not may_scrape(self._settings, authorization):
                return HTTPStatus.UNAUTHORIZED, _TEXT, b"A key is needed.\n"
            case "/metrics":
                self._measure()
                return HTTPStatus.OK, CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._registry)
        return HTTPStatus.NOT_FOUND, _TEXT, b""


def _message(status: HTTPStatus, body: bytes, kind: str = _TEXT, *, without_body: bool = False) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {kind}\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if without_body else body)
