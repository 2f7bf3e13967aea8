"""What each route answers, for the OpenAPI document: its documents, and every type of problem that it may give."""

from typing import Any

from services.api import examples
from services.api.contract import (
    Accepted,
    Alive,
    Answer,
    Chat,
    ChatPage,
    ChatWithMessages,
    Models,
    Problem,
    Readiness,
)
from services.api.problems import MEDIA_TYPE, TYPES

Responses = dict[int | str, dict[str, Any]]

REFERENCE = "#/components/schemas/{model}"
_READ_BODY = ("bad-json", "body-too-large", "unsupported-media-type", "invalid")


def answers(good: Responses, *types: str) -> Responses:
    """What a route answers: documents, and problems of these types."""
    return good | _problems(*types)


def answers_to_body(good: Responses, *types: str) -> Responses:
    """As `answers`, for a route that takes a body."""
    return good | _problems(*_READ_BODY, *types)


def _problems(*types: str) -> Responses:
    found: Responses = {}
    for type_ in types:
        status, title = TYPES[type_]
        schema = {"$ref": REFERENCE.format(model=Problem.__name__)}
        response = found.setdefault(
            status, {"description": "", "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}}
        )
        response["description"] = "; ".join(filter(None, [response["description"], title]))
        value = {"type": f"urn:unspool:{type_}", "title": title, "status": status, "detail": "..."}
        if type_ in {"invalid", "unknown-model"}:
            value |= {"errors": [{"field": "model", "message": "..."}]}
        response["content"][MEDIA_TYPE]["examples"][type_] = {"summary": title, "value": value}
    return found


def _event_stream(description: str, example: str) -> dict[str, Any]:
    content = {"schema": {"type": "string"}, "example": example}
    return {"description": description, "content": {"text/event-stream": content}}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"headers": {name: {"description": description, "schema": {"type": "string"}}}}


CREATE_CHAT = answers_to_body(
    {
        201: {"model": Chat, "description": "It is made."} | _header("location", "The chat."),
        200: {"model": Chat, "description": "It was made before, by the same call."},
    },
    "id-conflict",
    "unknown-model",
    "log-unavailable",
    "log-full",
)
LIST_CHATS = answers(
    {200: {"model": ChatPage, "description": "A page."}},
    "invalid",
    "history-unavailable",
    "history-behind",
    "log-unavailable",
)
READ_CHAT = answers(
    {
        200: {"model": ChatWithMessages, "description": "The chat."}
        | _header("etag", "Of this state of the chat."),
        304: {"description": "It is still as `If-None-Match` says."},
    },
    "not-found",
    "invalid",
    "history-unavailable",
    "history-behind",
    "log-unavailable",
)
CHANGE_CHAT = answers_to_body(
    {200: {"model": Chat, "description": "The chat, changed."}},
    "not-found",
    "log-unavailable",
    "log-full",
)
DELETE_CHAT = answers(
    {204: {"description": "It is gone."} | _header("x-unspool-cursor", "As `cursor` elsewhere.")},
    "not-found",
    "log-unavailable",
    "log-full",
)
_STREAMED = _event_stream("", examples.ANSWER_STREAM)["content"]
ASKED = answers_to_body(
    {
        202: {"model": Accepted, "description": "It will be answered, whatever dies.", "content": _STREAMED}
        | _header("location", "The answer's stream."),
    },
    "not-found",
    "id-conflict",
    "answer-in-progress",
    "unknown-model",
    "log-unavailable",
    "too-many-streams",
    "log-full",
)
READ_ANSWER = answers({200: {"model": Answer, "description": "The answer."}}, "not-found", "log-unavailable")
STREAM_ANSWER = answers(
    {
        200: _event_stream("The answer, as it is made.", examples.ANSWER_STREAM),
        204: {"description": "The client has all that there will ever be."},
    },
    "bad-cursor",
    "not-found",
    "log-unavailable",
    "too-many-streams",
)
CANCEL = answers(
    {
        202: {"model": Answer, "description": "It is about to stop."},
        200: {"model": Answer, "description": "It has ended."},
    },
    "not-found",
    "log-unavailable",
    "log-full",
)
EVENTS = answers(
    {200: _event_stream("The feed, which has no end.", examples.FEED)},
    "bad-cursor",
    "not-found",
    "log-unavailable",
)
MODELS = answers({200: {"model": Models, "description": "The default one comes first."}}, "log-unavailable")
ALIVE: Responses = {200: {"model": Alive}}
READY: Responses = {200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not ready."}}
METRICS = answers({}, "unauthorized")
