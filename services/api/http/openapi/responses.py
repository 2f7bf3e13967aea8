"""Responses of each route for the OpenAPI document: its documents and its problem types."""

from typing import Any, get_args

from pydantic import BaseModel

from services.api.http.openapi import examples
from services.api.http.openapi.contract import (
    Accepted,
    Alive,
    Answer,
    Chat,
    ChatPage,
    ChatWithMessages,
    Done,
    Happened,
    Models,
    Problem,
    Readiness,
    Reload,
    Reset,
    Snapshot,
    Started,
    Token,
)
from services.api.http.problems import MEDIA_TYPE, TYPES
from services.api.streaming.feed import RELOAD
from shared.domain.events import Fact

Responses = dict[int | str, dict[str, Any]]

REFERENCE = "#/components/schemas/{model}"
_READ_BODY = ("bad-json", "body-too-large", "unsupported-media-type", "invalid")


def with_problems(good: Responses, *types: str) -> Responses:
    """Returns the responses of a route: its documents and problems of these types."""
    return good | _problems(*types)


def with_body_problems(good: Responses, *types: str) -> Responses:
    """Returns the responses of a route that takes a body: adds the problems of every body."""
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


def _event_stream(description: str, example: str, events: dict[str, type[BaseModel]]) -> dict[str, Any]:
    """Describes an event stream. `itemSchema`, the schema of one event, is OpenAPI 3.2; FastAPI uses it in 3.1 too."""
    items = [_event(name, model) for name, model in events.items()]
    return {
        "description": description,
        "content": {"text/event-stream": {"itemSchema": {"oneOf": items}, "example": example}},
    }


def _event(name: str, model: type[BaseModel]) -> dict[str, Any]:
    data = {"$ref": REFERENCE.format(model=model.__name__)}
    return {
        "type": "object",
        "required": ["event", "data"],
        "properties": {
            "event": {"const": name},
            "id": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data},
        },
    }


def _header(name: str, description: str) -> dict[str, Any]:
    return {"headers": {name: {"description": description, "schema": {"type": "string"}}}}


def _links(field: str, *operations: str, parameter: str = "") -> dict[str, Any]:
    """Returns OpenAPI links: operations that take this field of the response as a parameter."""
    given = {parameter or field: f"$response.body#/{field}"}
    return {operation: {"operationId": operation, "parameters": given} for operation in operations}


CREATE_CHAT = with_body_problems(
    {
        201: {
            "model": Chat,
            "description": "The chat was created.",
            "links": _links(
                "id", "post_message", "read_chat", "change_chat", "delete_chat", parameter="chat"
            ),
        }
        | _header("location", "The path of the chat."),
        200: {"model": Chat, "description": "The same call created the chat before."},
    },
    "id-conflict",
    "unknown-model",
    "log-unavailable",
    "log-full",
)
LIST_CHATS = with_problems(
    {200: {"model": ChatPage, "description": "A page of chats."}},
    "invalid",
    "history-unavailable",
    "history-behind",
    "log-unavailable",
)
READ_CHAT = with_problems(
    {
        200: {"model": ChatWithMessages, "description": "The chat."}
        | _header("etag", "Identifies this state of the chat."),
        304: {"description": "The chat has not changed since `If-None-Match`."},
    },
    "not-found",
    "invalid",
    "history-unavailable",
    "history-behind",
    "log-unavailable",
)
CHANGE_CHAT = with_body_problems(
    {200: {"model": Chat, "description": "The changed chat."}},
    "not-found",
    "log-unavailable",
    "log-full",
)
DELETE_CHAT = with_problems(
    {
        204: {"description": "The chat is deleted."}
        | _header("x-unspool-cursor", "The cursor of the deletion, for `after` of later reads.")
    },
    "not-found",
    "log-unavailable",
    "log-full",
)
_ANSWER_EVENTS: dict[str, type[BaseModel]] = {
    "started": Started,
    "token": Token,
    "reset": Reset,
    "snapshot": Snapshot,
    "done": Done,
}
_FACTS = [kind.__struct_config__.tag.partition(".")[0] for kind in get_args(Fact)]
_FEED_EVENTS: dict[str, type[BaseModel]] = {
    **dict.fromkeys([*_FACTS, "answer-started"], Happened),
    RELOAD: Reload,
}
EVENT_MODELS = {*_ANSWER_EVENTS.values(), *_FEED_EVENTS.values()}
_STREAMED = _event_stream("", examples.ANSWER_STREAM, {"accepted": Accepted} | _ANSWER_EVENTS)["content"]
ASKED = with_body_problems(
    {
        202: {
            "model": Accepted,
            "description": "The request is stored and will be answered, even if processes fail.",
            "content": _STREAMED,
            "links": _links("answer", "read_answer", "stream_answer", "cancel", "regenerate"),
        }
        | _header("location", "The path of the answer's stream."),
    },
    "not-found",
    "id-conflict",
    "answer-in-progress",
    "unknown-model",
    "log-unavailable",
    "queue-full",
    "too-many-streams",
    "log-full",
)
READ_ANSWER = with_problems(
    {200: {"model": Answer, "description": "The answer."}}, "invalid", "not-found", "log-unavailable"
)
STREAM_ANSWER = with_problems(
    {
        200: _event_stream("The events of the answer.", examples.ANSWER_STREAM, _ANSWER_EVENTS),
        204: {"description": "The answer has ended and the client already has its last event."},
    },
    "bad-cursor",
    "not-found",
    "log-unavailable",
    "too-many-streams",
)
CANCEL = with_problems(
    {
        202: {"model": Answer, "description": "The answer is stopping."},
        200: {"model": Answer, "description": "The answer has ended."},
    },
    "not-found",
    "log-unavailable",
    "log-full",
)
EVENTS = with_problems(
    {200: _event_stream("The events of the feed. The stream has no end.", examples.FEED, _FEED_EVENTS)},
    "bad-cursor",
    "not-found",
    "log-unavailable",
)
MODELS = with_problems(
    {200: {"model": Models, "description": "The models. The default model is first."}}, "log-unavailable"
)
ALIVE: Responses = {200: {"model": Alive}}
READY: Responses = {200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not ready."}}
METRICS = with_problems({}, "unauthorized")
