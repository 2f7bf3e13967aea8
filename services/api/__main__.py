"""The API service as a process: `unspool api`."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from services.api.app import make_app, running
from services.api.http.dependencies import Context
from services.api.http.http_protocol import HttpProtocol
from shared.domain.errors import ConfigurationError, UnspoolError
from shared.logging import configure, logger
from shared.settings import Settings, load

log = logger(__name__)

_BACKLOG = 2048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Server(uvicorn.Server):
    """On a signal, open streams break off first: they would otherwise keep the process for as long as they last."""

    def __init__(self, config: uvicorn.Config, here: Context) -> None:
        super().__init__(config)
        self._here = here

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn's own would raise the signal once more at the end, and what is to be closed after it never would be."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._here.closing = True
        await asyncio.sleep(self._here.settings.drain_seconds)
        self._here.streams.close()
        self._here.feed.close()
        await super().shutdown(sockets)


def main(settings: Settings) -> int:
    """Runs until SIGTERM or SIGINT. Returns an exit status; what is wrong at the start is one line."""
    configure(settings, "api")
    try:
        _check_reach(settings)
        return _loop_run(settings)
    except UnspoolError as error:
        print(f"unspool api: {error}", file=sys.stderr)  # noqa: T201 - before and beside the log: for the person who starts it
        return 1


def _loop_run(settings: Settings) -> int:
    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings))
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.Loop


async def _serve(settings: Settings) -> int:
    failures: list[bool] = []
    server: Server | None = None

    def failed() -> None:
        failures.append(True)
        if server is not None:
            server.should_exit = True

    listening = _listen(settings)
    async with running(settings, failed) as here:
        config = uvicorn.Config(
            make_app(settings, here),
            http=HttpProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, round(settings.shutdown_seconds)),
        )
        server = Server(config, here)
        log.info("listening", host=settings.host, port=settings.port)
        await server.serve(sockets=[listening])
    return 1 if failures else 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
        ) from error


def _check_reach(settings: Settings) -> None:
    if settings.host not in _LOOPBACK and not settings.api_key:
        raise ConfigurationError(
            f"bound to {settings.host}, which others can reach, it needs an API key: set UNSPOOL_API_KEY"
        )


if __name__ == "__main__":
    sys.exit(main(load()))
