"""Runs a service's main coroutine as a process."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from shared.domain.errors import UnspoolError
from shared.logging import configure
from shared.settings import Settings


def run_service(name: str, settings: Settings, serve: Callable[[Settings], Coroutine[Any, Any, int]]) -> int:
    """Runs `serve` on the fastest event loop of this platform and returns the exit status.

    Prints an `UnspoolError` as one line on the error stream, for the person who started the process.
    """
    configure(settings, name)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(serve(settings))
    except KeyboardInterrupt:
        return 0
    except UnspoolError as error:
        print(f"unspool {name}: {error}", file=sys.stderr)  # noqa: T201 - beside the log
        return 1


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return None
    return uvloop.Loop
