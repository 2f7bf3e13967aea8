"""From errors to HTTP: the only place that knows status codes of decisions. RFC 9457 throughout."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

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


def problem(
    status: int,
    type_: str,
    title: str,
    detail: str = "",
    *,
    headers: dict[str, str] | None = None,
    **more: Any,  # noqa: ANN401
) -> JSONResponse:
    body = {"type": f"urn:unspool:{type_}", "title": title, "status": status, "detail": detail, **more}
    retry = {"retry-after": _RETRY_AFTER_SECONDS} if status in {429, 503, 507} else {}
    return JSONResponse(body, status, headers=retry | (headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    app.add_exception_handler(UnspoolError, _unspool)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


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
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return problem(
            400, "bad-json", "The body is not valid JSON", str(found[0].get("ctx", {}).get("error", ""))
        )
    errors = [{"field": _field(item["loc"]), "message": _printable(item["msg"])} for item in found]
    return problem(
        422, "invalid", "The request is not valid", errors[0]["message"] if errors else "", errors=errors
    )


def _field(location: tuple[int | str, ...]) -> str:
    named = location[1:] if location and location[0] in {"body", "query", "path", "header"} else location
    return _printable(".".join(str(part) for part in named) or "body")


def _printable(text: str) -> str:
    """What a client sent comes back in messages: lone surrogates could not be encoded."""
    return text.encode("utf-8", "replace").decode()


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - installed for it only
    phrase = HTTPStatus(error.status_code).phrase
    detail = "" if error.detail == phrase else str(error.detail)
    return problem(
        error.status_code, phrase.lower().replace(" ", "-"), phrase, detail, headers=dict(error.headers or {})
    )
