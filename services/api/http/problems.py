"""From errors to HTTP: the only place that knows status codes of decisions. RFC 9457 throughout."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match

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
_AGAIN = (
    "Make the same call again after `Retry-After` seconds; with the same id, what it asks for happens once."
)
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


TYPES: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request could not be received"),
    "bad-json": (400, "The body is not valid JSON"),
    "bad-cursor": (400, "This is not a cursor"),
    "bad-http": (400, "This is not an HTTP request"),
    "unauthorized": (401, "A key is needed"),
    "method-not-allowed": (405, "Method not allowed"),
    "body-too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body is not said to be JSON"),
    "head-too-large": (431, "The headers are too large"),
    "internal": (500, "Something went wrong here"),
} | {type_: (status, title) for status, type_, title in _KNOWN.values()}
"""All types of problem there are, with status and title."""


class Refused(HTTPException):
    """A request that is refused for its form, whatever it asks for. `type_` is one of `TYPES`."""

    def __init__(self, type_: str, detail: str, headers: dict[str, str] | None = None) -> None:
        status, _ = TYPES[type_]
        super().__init__(status, detail, headers)
        self.type = type_

    def response(self) -> JSONResponse:
        return problem(self.type, self.detail, headers=dict(self.headers or {}))


class NoKey(Refused):
    def __init__(self) -> None:
        super().__init__(
            "unauthorized", "It needs the header `authorization: Bearer KEY`.", {"www-authenticate": "Bearer"}
        )


def problem(
    type_: str,
    detail: str = "",
    *,
    headers: dict[str, str] | None = None,
    **more: Any,  # noqa: ANN401
) -> JSONResponse:
    """`type_` is one of `TYPES`."""
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
    app.add_exception_handler(UnspoolError, _unspool)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _unspool(_request: Request, error: Exception) -> JSONResponse:
    status, type_, _ = next(known for kind, known in _KNOWN.items() if isinstance(error, kind))
    more: dict[str, Any] = {}
    if isinstance(error, Invalid):
        more["errors"] = [{"field": error.field, "message": error.message}]
    if isinstance(error, UnknownModel):
        more["errors"] = [{"field": "model", "message": str(error)}]
    if isinstance(error, AnswerInProgress):
        more["answer"] = error.answer
    ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return problem(type_, _AGAIN if ours else str(error), **more)


async def _validation(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - installed for it only
    found = error.errors()[:_ERRORS_MAX]
    errors = [{"field": _field(item["loc"]), "message": _message(item["msg"])} for item in found]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
    return problem("invalid", detail, errors=errors)


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
    match error:
        case Refused():
            return error.response()
        case HTTPException(status_code=HTTPStatus.NOT_FOUND):
            return problem("not-found", f"There is nothing at {request.url.path!r}.")
        case HTTPException(status_code=HTTPStatus.METHOD_NOT_ALLOWED):
            allowed = ", ".join(_methods(request))
            return problem(
                "method-not-allowed", f"{request.url.path!r} takes {allowed}.", headers={"allow": allowed}
            )
        case _:  # FastAPI's own, for a body that could not be received
            return problem("bad-request", error.detail)


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
    return problem("internal", "The fault is in the server's log.")
