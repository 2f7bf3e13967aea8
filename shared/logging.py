"""Structured logs: JSON for machines, lines for a terminal. They never contain content or secrets.

Invariant: the message of a foreign exception is never logged. A provider's error quotes the prompt, Postgres quotes
the row, a traceback with locals shows keys. So an exception is logged with its frames and its class, and with its
message only if this code or the operating system wrote it.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import structlog
from structlog.contextvars import bind_contextvars

from shared.domain import subjects
from shared.domain.errors import ProviderError, Rejected, UndecodableEvent, UnspoolError
from shared.settings import Settings

_FRAMES_MAX = 40
_CHAIN_MAX = 8

bind = bind_contextvars
"""Adds these fields to all lines of this task and of the tasks that it starts."""


def logger(name: str) -> Any:  # noqa: ANN401 - structlog's bound logger has no narrower type
    """Returns a logger whose lines name this module."""
    return structlog.get_logger(module=name)


def configure(settings: Settings, service: str) -> None:
    """Configures the logs of this process, those of libraries included. Call it once, before the first line."""
    level = getattr(logging, settings.log_level.upper())
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    stamps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_chat,
        _render_exception,
    ]
    structlog.configure(
        processors=[*stamps, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    bind(service=service)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*stamps, structlog.stdlib.add_logger_name, _keep_first_line],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _add_chat(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401 - structlog's processor type
    if "answer" in event and "chat" not in event:
        event["chat"] = subjects.chat_of(event["answer"])
    return event


def _keep_first_line(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401
    """Drops all lines after the first: in messages of asyncio they are the `repr` of tasks with their exceptions."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _render_exception(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = "".join(_format_error(error, _CHAIN_MAX)).rstrip()
    return event


def _format_error(error: BaseException, more: int) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and more:
        yield from _format_error(before, more - 1)
        yield "and then:\n"
    yield from traceback.format_tb(error.__traceback__, limit=-_FRAMES_MAX)
    yield f"{type(error).__module__}.{type(error).__qualname__}{_safe_message(error)}\n"
    if isinstance(error, BaseExceptionGroup) and more:
        for one in error.exceptions[:_CHAIN_MAX]:
            yield from _format_error(one, more - 1)


def _safe_message(error: BaseException) -> str:
    if isinstance(error, ProviderError | Rejected | UndecodableEvent):
        return ""
    if isinstance(error, OSError):
        return f": {error.strerror}" if error.strerror else ""
    return f": {error}" if isinstance(error, UnspoolError) else ""
