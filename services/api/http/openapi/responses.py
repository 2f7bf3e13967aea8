"""What each route answers, for the OpenAPI document: its documents, and every type of problem that it may give."""

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


def _event_stream(description: str, example: str, events: dict[str, type[BaseModel]]) -> dict[str, Any]:
    """`itemSchema` is OpenAPI 3.2's word for what one event of a stream is, and FastAPI's in 3.1 already."""
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
    """What can be done next with a field of this document."""
    given = {parameter or field: f"$response.body#/{field}"}
    return {operation: {"operationId": operation, "parameters": given} for operation in operations}


CREATE_CHAT = answers_to_body(
    {
        201: {
            "model": Chat,
            "description": "It is made.",
            "links": _links(
                "id", "post_message", "read_chat", "change_chat", "delete_chat", parameter="chat"
            ),
        }
        | _header("location", "The chat."),
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
MODELS_OF_EVENTS = {*_ANSWER_EVENTS.values(), *_FEED_EVENTS.values()}
_STREAMED = _event_stream("", examples.ANSWER_STREAM, {"accepted": Accepted} | _ANSWER_EVENTS)["content"]
ASKED = answers_to_body(
    {
        202: {
            "model": Accepted,
            "description": "It will be answered, whatever dies.",
            "content": _STREAMED,
            "links": _links("answer", "read_answer", "stream_answer", "cancel", "regenerate"),
        }
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
READ_ANSWER = answers(
    {200: {"model": Answer, "description": "The answer."}}, "invalid", "not-found", "log-unavailable"
)
STREAM_ANSWER = answers(
    {
        200: _event_stream("The answer, as it is made.", examples.ANSWER_STREAM, _ANSWER_EVENTS),
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
    {200: _event_stream("The feed, which has no end.", examples.FEED, _FEED_EVENTS)},
    "bad-cursor",
    "not-found",
    "log-unavailable",
)
MODELS = answers({200: {"model": Models, "description": "The default one comes first."}}, "log-unavailable")
ALIVE: Responses = {200: {"model": Alive}}
READY: Responses = {200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not ready."}}
METRICS = answers({}, "unauthorized")
