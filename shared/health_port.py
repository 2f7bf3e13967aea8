"""The health port of a process without an API: `/livez`, `/readyz` and `/metrics`, for the platform.

It runs on the event loop of the process, without a thread: `/livez` does not respond while the loop hangs, which is
what the platform asks for. A connection serves one request, within limits of bytes and time.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ClassVar

import uvicorn
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from shared.http_server import BoundedHttpProtocol, bind
from shared.logging import logger
from shared.metrics import may_scrape
from shared.settings import Settings

log = logger(__name__)

_CONNECTION_SECONDS = 5.0
_STOP_SECONDS = 1


class HealthPort:
    """Serves the health port of one process. The process owns it, and keeps it open for as long as it works."""

    def __init__(
        self,
        port: int,
        settings: Settings,
        *,
        not_ready: Callable[[], str],
        measure: Callable[[], None],
        registry: Collector = REGISTRY,
    ) -> None:
        """Takes `not_ready`, which returns the reason or '', and `measure`, which updates the metrics before a scrape."""
        self._port = port
        self._settings = settings
        self._not_ready = not_ready
        self._measure = measure
        self._registry = registry

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listens until the context ends, or not at all if the port is 0. Raises `ConfigurationError` if it is taken."""
        host, port = self._settings.host, self._port
        if not port:
            yield
            return
        listening = bind(host, port)
        server = _Server(self._config())
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        log.info("health-port", host=host, port=port)
        try:
            yield
        finally:
            server.should_exit = True
            await serving

    def _config(self) -> uvicorn.Config:
        routes = [
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
        ]
        return uvicorn.Config(
            Starlette(routes=routes),
            http=_HealthProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            headers=[("connection", "close")],
            timeout_graceful_shutdown=_STOP_SECONDS,
        )

    # Coroutines, because Starlette would run functions in a thread.

    async def _livez(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _request: Request) -> Response:
        reason = self._not_ready()
        return PlainTextResponse(f"{reason or 'ok'}\n", 503 if reason else 200)

    async def _metrics(self, request: Request) -> Response:
        if not may_scrape(self._settings, request.headers.get("authorization", "")):
            return PlainTextResponse("A key is needed.\n", 401)
        self._measure()
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class _HealthProtocol(BoundedHttpProtocol):
    """One connection, which ends after `_CONNECTION_SECONDS` whatever it does: uvicorn has no timeout for a head."""

    head_max_bytes: ClassVar[int] = 8 * 1024
    _deadline: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._deadline = self.loop.call_later(_CONNECTION_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to the process."""
        yield
