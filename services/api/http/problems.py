"""Maps errors to HTTP problem documents (RFC 9457). Only this module assigns status codes to errors."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from services.api.commands.admission import QueueFull
from services.api.http.bodies import KINDS
from services.api.read_model.queries import ReadModelBehind, ReadModelUnavailable
from services.api.streaming.streams import TooManyStreams
from shared.domain.errors import (
    AnswerInProgress,
    IdConflict,
    Invalid,
    LogFull,
    LogUnavailable,
    NotFound,
    UnknownModel,
    UnspoolError,
)

MEDIA_TYPE = "application/problem+json"
_RETRY_AFTER_SECONDS = "1"
_RETRY = "Retry the same call after `Retry-After` seconds. With the same id it takes effect once."
_ERRORS_MAX = 20
_TEXT_MAX_CHARS = 500
"""Limit for a text of a problem: it may repeat input of the client, which may be a megabyte long."""

# class: (status, type, title)
_KNOWN: dict[type[UnspoolError], tuple[int, str, str]] = {
    NotFound: (404, "not-found", "Not found"),
    IdConflict: (409, "id-conflict", "The id was used before with different content"),
    AnswerInProgress: (409, "answer-in-progress", "An answer is still being generated on this branch"),
    Invalid: (422, "invalid", "The request is not valid"),
    UnknownModel: (422, "unknown-model", "Unknown model"),
    LogUnavailable: (503, "log-unavailable", "The log is unavailable"),
    LogFull: (507, "log-full", "The log has reached its storage limit"),
    ReadModelUnavailable: (503, "history-unavailable", "The history is unavailable"),
    ReadModelBehind: (503, "history-behind", "The history has not reached the requested cursor yet"),
    QueueFull: (503, "queue-full", "Too many requests wait for an answer"),
    TooManyStreams: (503, "too-many-streams", "Too many open streams"),
}


TYPES: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request could not be read"),
    "bad-json": (400, "The body is not valid JSON"),
    "bad-cursor": (400, "The cursor is not valid"),
    "bad-http": (400, "The request is not valid HTTP"),
    "unauthorized": (401, "The API key is missing or wrong"),
    "method-not-allowed": (405, "Method not allowed"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The content type is not JSON"),
    "head-too-large": (431, "The headers are too large"),
    "internal": (500, "Internal server error"),
} | {type_: (status, title) for status, type_, title in _KNOWN.values()}
"""Every problem type, with its status and title."""


class Refused(HTTPException):
    """A request is rejected for its form, before its content matters. `type_` is one of `TYPES`."""

    def __init__(self, type_: str, detail: str, headers: dict[str, str] | None = None) -> None:
        status, _ = TYPES[type_]
        super().__init__(status, detail, headers)
        self.type = type_

    def response(self) -> JSONResponse:
        """Returns the problem document, for code that runs outside FastAPI's exception handlers."""
        return problem(self.type, self.detail, headers=dict(self.headers or {}))


class NoKey(Refused):
    """The request does not carry the required key as a bearer token."""

    def __init__(self) -> None:
        super().__init__(
            "unauthorized", "Send the header `authorization: Bearer KEY`.", {"www-authenticate": "Bearer"}
        )


def problem(
    type_: str,
    detail: str = "",
    *,
    headers: dict[str, str] | None = None,
    **more: Any,  # noqa: ANN401
) -> JSONResponse:
    """Returns a problem document. `type_` is one of `TYPES`; 429, 503 and 507 carry `Retry-After`."""
    status, title = TYPES[type_]
    body = {
        "type": f"urn:unspool:{type_}",
        "title": title,
        "status": status,
        "detail": _printable(detail),
        **more,
    }
    retry = {"retry-after": _RETRY_AFTER_SECONDS} if status in {429, 503, 507} else {}
    return JSONResponse(body, status, headers=retry | (headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Adds the exception handlers that turn every error into a problem document."""
    app.add_exception_handler(UnspoolError, _answer_unspool_error)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    app.add_exception_handler(Exception, _answer_unexpected_error)


async def _answer_unspool_error(_request: Request, error: Exception) -> JSONResponse:
    status, type_, _ = next(known for kind, known in _KNOWN.items() if isinstance(error, kind))
    more: dict[str, Any] = {}
    if isinstance(error, Invalid):
        more["errors"] = [{"field": error.field, "message": error.message}]
    if isinstance(error, UnknownModel):
        more["errors"] = [{"field": "model", "message": str(error)}]
    if isinstance(error, AnswerInProgress):
        more["answer"] = error.answer
    ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return problem(type_, _RETRY if ours else str(error), **more)


async def _answer_validation_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    found = error.errors()[:_ERRORS_MAX]
    errors = [{"field": _field(item["loc"]), "message": _message(item["msg"])} for item in found]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
    return problem("invalid", detail, errors=errors)


def _field(location: tuple[int | str, ...]) -> str:
    """Returns the path of a field as the client wrote it: without the request part and without the type tags."""
    named = location[1:] if location and location[0] in {"body", "query", "path", "header"} else location
    return _printable(".".join(str(part) for part in named if part not in KINDS) or "body")


def _message(text: str) -> str:
    return _printable(text.removeprefix("Value error, "))


def _printable(text: str) -> str:
    """Returns the text cut to its limit, with lone surrogates replaced, which could not be encoded."""
    short = text if len(text) <= _TEXT_MAX_CHARS else f"{text[:_TEXT_MAX_CHARS]}..."
    return short.encode("utf-8", "replace").decode()


async def _answer_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    match error:
        case Refused():
            return error.response()
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return problem("not-found", f"No route matches {request.url.path!r}.")
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            allowed = ", ".join(_methods(request))
            return problem(
                "method-not-allowed", f"{request.url.path!r} supports {allowed}.", headers={"allow": allowed}
            )
        case _:  # FastAPI raises it for a body that it could not read.
            return problem("bad-request", error.detail)


def _methods(request: Request) -> list[str]:
    """Returns all methods of a path. Starlette's `Allow` covers only the first route with this path."""
    scope = {"type": "http", "path": request.url.path, "root_path": "", "headers": []}
    routes: list[BaseRoute] = request.app.router.routes
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches(scope | {"method": method})[0] is Match.FULL for route in routes)
    ]


async def _answer_unexpected_error(_request: Request, _error: Exception) -> JSONResponse:
    """Returns a document without details of the error: the traceback goes to the server's log only."""
    return problem("internal", "An unexpected error occurred. The server's log has its traceback.")
