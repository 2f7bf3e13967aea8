"""The OpenAPI document: what FastAPI finds in the routes, and what holds for all of them."""

from collections.abc import Iterator
from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.api.http.openapi.contract import Problem
from services.api.http.openapi.responses import MODELS_OF_EVENTS, REFERENCE, answers
from services.api.http.problems import TYPES
from shared.settings import Settings

_ABOUT = """
A chat backend for language models in which an answer outlives every connection and every process.

Ask with `POST /v1/chats/{{chat}}/messages`, read with `GET /v1/answers/{{answer}}/stream`. Cut off? Connect again
with the id of the last event as `Last-Event-ID`, to any replica, from any device: exactly the missing events come.

Bodies are JSON that every reader understands in the same way (I-JSON, RFC 7493): UTF-8, no key twice in an object,
integers of 64 bits, at most 64 levels deep. No text may hold U+0000. An error means that nothing was written.

| limit | |
|---|---|
| body | {body_max_bytes} bytes |
| `content`, `system` | {message_max_chars} characters |
| `title` | {title_max_chars} characters |
| `metadata` | {metadata_max_bytes} bytes |
| `params` | {params_max_bytes} bytes |
| messages and answers of a chat | {chat_messages_max} |
| chats of a page | {page_max} |

Every error is a document of RFC 9457, with one of these types:

| `type` | status | |
|---|---|---|
{types}
"""
_TAGS = [
    {"name": "chats", "description": "Chats, and the messages that are put to them."},
    {"name": "answers", "description": "What is made of a message: read, stream, make again, stop."},
    {"name": "events", "description": "What happens to one's chats, for lists, other tabs, other devices."},
    {"name": "models", "description": "What can be asked."},
    {"name": "platform", "description": "For whoever runs it."},
]
_OPEN = {"/livez", "/readyz"}


def install(app: FastAPI, settings: Settings) -> None:
    def described() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _described(app, settings)
        return app.openapi_schema

    app.openapi = described  # type: ignore[method-assign] # it is how FastAPI says to do it


def _described(app: FastAPI, settings: Settings) -> dict[str, Any]:
    by_status = sorted(TYPES.items(), key=lambda item: item[1][0])
    types = "\n".join(f"| `{type_}` | {status} | {title} |" for type_, (status, title) in by_status)
    limits = {name: getattr(settings, name) for name in settings.__struct_fields__}
    about = _ABOUT.format(types=types, **limits)
    document = get_openapi(
        title=app.title, version=app.version, description=about, routes=app.routes, tags=_TAGS
    )
    schemas = document["components"]["schemas"]
    schemas |= _schemas({Problem, *MODELS_OF_EVENTS})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path, operation in _operations(document):
        for response in operation["responses"].values():
            for content in response.get("content", {}).values():
                if "itemSchema" in content:
                    content.pop("schema", None)
        for parameter in operation.get("parameters", []):
            parameter["schema"] = _without_null(parameter["schema"])
        if "HTTPValidationError" in str(operation["responses"].get("422")):  # FastAPI's own guess
            del operation["responses"]["422"]
        if settings.api_key and path not in _OPEN:
            operation["security"] = [{"key": []}]
            operation["responses"] |= {
                str(status): one for status, one in answers({}, "unauthorized").items()
            }
    if settings.api_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    return document


def _schemas(models: set[type[BaseModel]]) -> dict[str, Any]:
    """Of models that FastAPI does not find, since no route is said to return them."""
    wanted: list[tuple[type[BaseModel], Literal["serialization"]]] = [
        (model, "serialization") for model in sorted(models, key=lambda model: model.__name__)
    ]
    _, made = models_json_schema(wanted, ref_template=REFERENCE)
    found: dict[str, Any] = made["$defs"]
    return found


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """FastAPI says of what may be left out that it may be null: in an address or a header nothing can be."""
    found: list[dict[str, Any]] = [one for one in schema.get("anyOf", []) if one != {"type": "null"}]
    if len(found) != 1:
        return schema
    return {name: value for name, value in schema.items() if name != "anyOf"} | found[0]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, operations in document["paths"].items():
        for operation in operations.values():
            yield path, operation
