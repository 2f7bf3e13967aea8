"""The OpenAPI document: completes what FastAPI derives from the routes with what holds for all of them."""

from collections.abc import Iterator
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.api.http.openapi.contract import Problem
from services.api.http.openapi.responses import EVENT_MODELS, REFERENCE, with_problems
from services.api.http.problems import TYPES
from shared.settings import Settings

_ABOUT = """
A chat backend for language models in which an answer outlives every connection and every process.

Post a message with `POST /v1/chats/{{chat}}/messages` and read its answer with `GET /v1/answers/{{answer}}/stream`.
After a disconnect, connect again with the id of the last event as `Last-Event-ID`: to any replica, from any device.
The stream resumes with exactly the missing events.

Bodies are I-JSON (RFC 7493): UTF-8, no duplicate keys, integers of at most 64 bits, at most 64 levels deep. No string
may contain U+0000. A 4xx response means that nothing was written. After a 5xx response, repeat the call with the same
id: it takes effect once.

| limit | |
|---|---|
| body | {body_max_bytes} bytes |
| `content`, `system` | {message_max_chars} characters |
| `title` | {title_max_chars} characters |
| `metadata` | {metadata_max_bytes} bytes |
| `params` | {params_max_bytes} bytes |
| messages and answers of a chat | {chat_messages_max} |
| chats of a page | {page_max} |

Every error is a problem document (RFC 9457) with one of these types:

| `type` | status | |
|---|---|---|
{types}
"""
_TAGS = [
    {"name": "chats", "description": "Chats and their messages."},
    {"name": "answers", "description": "Answers of a model: read, stream, regenerate, cancel."},
    {
        "name": "events",
        "description": "Events of the caller's chats, for lists, other tabs and other devices.",
    },
    {"name": "models", "description": "Models of all providers."},
    {"name": "platform", "description": "Health and metrics, for operators."},
]
_OPEN = {"/livez", "/readyz"}


def install(app: FastAPI, settings: Settings) -> None:
    """Replaces FastAPI's document with ours, which is built at the first request and then kept."""

    def get_document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _build_document(app, settings)
        return app.openapi_schema

    app.openapi = get_document  # type: ignore[method-assign] # FastAPI documents this way


def _build_document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    by_status = sorted(TYPES.items(), key=lambda item: item[1][0])
    types = "\n".join(f"| `{type_}` | {status} | {title} |" for type_, (status, title) in by_status)
    limits = {name: getattr(settings, name) for name in settings.__struct_fields__}
    about = _ABOUT.format(types=types, **limits)
    document = get_openapi(
        title=app.title, version=app.version, description=about, routes=app.routes, tags=_TAGS
    )
    schemas = document["components"]["schemas"]
    schemas |= _schemas({Problem, *EVENT_MODELS})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operation in _operations(document):
        for response in operation["responses"].values():
            for content in response.get("content", {}).values():
                if "itemSchema" in content:
                    content.pop("schema", None)
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _without_null(parameter["schema"])
        if "HTTPValidationError" in str(operation["responses"].get("422")):  # FastAPI's default
            del operation["responses"]["422"]
        if settings.api_key and path not in _OPEN:
            operation["security"] = [{"key": []}]
            operation["responses"] |= {
                str(status): one for status, one in with_problems({}, "unauthorized").items()
            }
    if settings.api_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _schemas(models: set[type[BaseModel]]) -> dict[str, Any]:
    """Returns the schemas of models that FastAPI does not find, because no route declares them."""
    wanted: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (model, "serialization") for model in sorted(models, key=lambda model: model.__name__)
    ]
    _, made = models_json_schema(wanted, ref_template=REFERENCE)
    found: dict[str, Any] = made["$defs"]
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Removes null from an optional parameter's schema: a query string or a header cannot carry null."""
    found: list[dict[str, Any]] = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(found) != 1:
        return schema
    return {name: value for name, value in schema.items() if name != "anyOf"} | found[0]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation
