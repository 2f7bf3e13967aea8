"""Structured logs: JSON where a machine reads them, lines where a person does. Never content, never secrets.

The law of this file: what an exception says is not ours to print. A provider's complaint quotes the question, Postgres
quotes the row, a traceback with locals shows keys. So of an exception its frames and its class are told, and its own
words only where this code wrote them, or the system did.
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
"""Gives all lines of this task, and of those that it starts, these fields."""


def logger(name: str) -> Any:  # noqa: ANN401 - structlog's bound logger has no narrower type
    return structlog.get_logger(module=name)


def configure(settings: Settings, service: str) -> None:
    """Once per process, before anything is logged. Other people's loggers come out in the same form."""
    level = getattr(logging, settings.log_level.upper())
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    stamps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_chat,
        _exception_told,
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
            foreign_pre_chain=[*stamps, structlog.stdlib.add_logger_name, _first_line],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


def _with_chat(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401 - structlog's processor type
    if "answer" in event and "chat" not in event:
        event["chat"] = subjects.chat_of(event["answer"])
    return event


def _first_line(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401
    """What follows it in asyncio's own messages is the `repr` of tasks, with what their exceptions say."""
    event["event"] = str(event["event"]).partition("\n")[0]
    return event


def _exception_told(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = "".join(_told(error, _CHAIN_MAX)).rstrip()
    return event


def _told(error: BaseException, more: int) -> Iterator[str]:
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and more:
        yield from _told(before, more - 1)
        yield "and then:\n"
    yield from traceback.format_tb(error.__traceback__, limit=-_FRAMES_MAX)
    yield f"{type(error).__module__}.{type(error).__qualname__}{_own_words(error)}\n"
    if isinstance(error, BaseExceptionGroup) and more:
        for one in error.exceptions[:_CHAIN_MAX]:
            yield from _told(one, more - 1)


def _own_words(error: BaseException) -> str:
    if isinstance(error, ProviderError | Rejected | UndecodableEvent):
        return ""
    if isinstance(error, OSError):
        return f": {error.strerror}" if error.strerror else ""
    return f": {error}" if isinstance(error, UnspoolError) else ""
