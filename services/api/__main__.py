"""The API service as a process: `unspool api`."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from services.api.app import make_app, open_context
from services.api.http.dependencies import Context
from services.api.http.http_protocol import HttpProtocol
from shared.domain.errors import ConfigurationError
from shared.hosts import is_loopback
from shared.http_server import bind
from shared.logging import logger
from shared.service import run_service
from shared.settings import Settings, load

log = logger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Server(uvicorn.Server):
    """A uvicorn server that breaks off open streams before its shutdown: they would delay it until they end."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handles signals without raising them again afterwards, as uvicorn does: the process still has to close."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._context.closing = True
        await asyncio.sleep(self._context.settings.drain_seconds)
        self._context.streams.close()
        self._context.feed.close()
        await super().shutdown(sockets)


def main(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT and returns the exit status. Prints a single line if the start fails."""
    return run_service("api", settings, _serve)


async def _serve(settings: Settings) -> int:
    _check_reach(settings)
    failures: list[bool] = []
    server: Server | None = None

    def failed() -> None:
        failures.append(True)
        if server is not None:
            server.should_exit = True

    listening = bind(settings.host, settings.port)
    async with open_context(settings, failed) as context:
        config = uvicorn.Config(
            make_app(settings, context),
            http=HttpProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        )
        server = Server(config, context)
        log.info("listening", host=settings.host, port=settings.port)
        await server.serve(sockets=[listening])
    return 1 if failures else 0


def _check_reach(settings: Settings) -> None:
    if not is_loopback(settings.host) and not settings.api_key:
        raise ConfigurationError(
            f"host {settings.host} is reachable from other machines: set UNSPOOL_API_KEY, or bind to 127.0.0.1"
        )


if __name__ == "__main__":
    sys.exit(main(load()))
