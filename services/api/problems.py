"""From errors to HTTP: the only place that knows status codes of decisions. RFC 9457 throughout."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

from services.api.bodies import KINDS
from services.api.reads import ReadModelBehind, ReadModelUnavailable
from services.api.streams import TooManyStreams
from shared.errors import (
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
_ERRORS_MAX = 20
_TEXT_MAX_CHARS = 500
"""What a client sent comes back in texts, and it may have sent a megabyte."""

# class: (status, type, title)
_KNOWN: dict[type[UnspoolError], tuple[int, str, str]] = {
    NotFound: (404, "not-found", "Not found"),
    IdConflict: (409, "id-conflict", "The id is in use with other content"),
    AnswerInProgress: (409, "answer-in-progress", "An answer is still being made on this branch"),
    Invalid: (422, "invalid", "The request is not valid"),
    UnknownModel: (422, "unknown-model", "Unknown model"),
    LogUnavailable: (503, "log-unavailable", "The log does not answer"),
    LogFull: (507, "log-full", "The log has no room"),
    ReadModelUnavailable: (503, "history-unavailable", "The history does not answer"),
    ReadModelBehind: (503, "history-behind", "The history has not come that far yet"),
    TooManyStreams: (503, "too-many-streams", "Too many open streams"),
}


class Refused(HTTPException):
    """A request that is refused for its form, whatever it asks for."""

    def __init__(self, status: int, type_: str, title: str, detail: str) -> None:
        super().__init__(status, detail)
        self.type = type_
        self.title = title


class NotACursor(Refused):
    def __init__(self, detail: str) -> None:
        super().__init__(400, "bad-cursor", "This is not a cursor", detail)


def problem(
    status: int,
    type_: str,
    title: str,
    detail: str = "",
    *,
    headers: dict[str, str] | None = None,
    **more: Any,  # noqa: ANN401
) -> JSONResponse:
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
    app.add_exception_handler(UnspoolError, _unspool)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _unspool(_request: Request, error: Exception) -> JSONResponse:
    status, type_, title = next(known for kind, known in _KNOWN.items() if isinstance(error, kind))
    more: dict[str, Any] = {}
    if isinstance(error, Invalid):
        more["errors"] = [{"field": error.field, "message": error.message}]
    if isinstance(error, UnknownModel):
        more["errors"] = [{"field": "model", "message": str(error)}]
    if isinstance(error, AnswerInProgress):
        more["answer"] = error.answer
    detail = "" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else str(error)
    return problem(status, type_, title, detail, **more)


async def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - installed for it only
    found = error.errors()[:_ERRORS_MAX]
    errors = [{"field": _field(item["loc"]), "message": _message(item["msg"])} for item in found]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
    return problem(422, "invalid", "The request is not valid", detail, errors=errors)


def _field(location: tuple[int | str, ...]) -> str:
    """Where it is, as a client would say it: without the part of the request, and without the kind of value."""
    named = location[1:] if location and location[0] in {"body", "query", "path", "header"} else location
    return _printable(".".join(str(part) for part in named if part not in KINDS) or "body")


def _message(text: str) -> str:
    return _printable(text.removeprefix("Value error, "))


def _printable(text: str) -> str:
    """Bounded, and without lone surrogates, which could not be encoded."""
    short = text if len(text) <= _TEXT_MAX_CHARS else f"{text[:_TEXT_MAX_CHARS]}..."
    return short.encode("utf-8", "replace").decode()


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - installed for it only
    headers = dict(error.headers or {})
    if isinstance(error, Refused):
        return problem(error.status_code, error.type, error.title, error.detail, headers=headers)
    match error.status_code:
        case HTTPStatus.NOT_FOUND:
            return problem(404, "not-found", "Not found", f"There is nothing at {request.url.path!r}.")
        case HTTPStatus.METHOD_NOT_ALLOWED:
            allowed = ", ".join(_methods(request))
            detail = f"{request.url.path!r} takes {allowed}."
            return problem(
                405, "method-not-allowed", "Method not allowed", detail, headers={"allow": allowed}
            )
    phrase = HTTPStatus(error.status_code).phrase
    type_ = phrase.lower().replace(" ", "-")
    return problem(error.status_code, type_, phrase, error.detail, headers=headers)


def _methods(request: Request) -> list[str]:
    """All that a path takes: starlette's own `Allow` has those of the first route with this path only."""
    scope = {"type": "http", "path": request.url.path, "root_path": "", "headers": []}
    routes: list[BaseRoute] = request.app.router.routes
    return [
        method
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        if any(route.matches(scope | {"method": method})[0] is Match.FULL for route in routes)
    ]


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    """A fault of ours: its traceback goes to the log, and nothing of it to the client."""
    return problem(500, "internal", "Something went wrong here", "The fault is in the server's log.")
