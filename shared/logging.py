"""Structured logs: JSON where a machine reads them, lines where a person does. Never content, never secrets."""

import logging
import sys
from typing import Any

import structlog

from shared.settings import Settings


def logger(name: str) -> Any:  # noqa: ANN401 - structlog's bound logger has no narrower type
    return structlog.get_logger(module=name)


def configure(settings: Settings, service: str) -> None:
    """Once per process, before anything is logged."""
    level = getattr(logging, settings.log_level.upper())
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer: Any = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if as_json else _unchanged,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for noisy in ("uvicorn.error", "nats"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _unchanged(_logger: object, _name: str, event: Any) -> Any:  # noqa: ANN401 - structlog's processor type
    return event
