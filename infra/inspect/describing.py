"""Describes an event in one line, for debugging. Pure."""

import json
from typing import Any, assert_never

import msgspec

from infra.inspect.entries import Entry
from infra.terminal.printable import printable
from shared.domain.events import (
    AnswerEnded,
    AnswerEvent,
    AnswerFailed,
    AnswerRequest,
    AnswerRequested,
    CancelRequested,
    ChatArchived,
    ChatCreated,
    ChatDeleted,
    ChatMetadataChanged,
    ChatRenamed,
    ChatUnarchived,
    Fact,
    GenerationEnded,
    GenerationHandedOver,
    GenerationReset,
    GenerationStarted,
    MessageRequested,
    Problem,
    TitleGenerated,
    TokenEmitted,
    Usage,
)

Details = dict[str, Any]
SHOWN_OF_ID = 8
RAW_MAX_BYTES = 200


def name(entry: Entry) -> str:
    """Returns the tag without its version, or `undecodable`."""
    if entry.event is None:
        return "undecodable"
    return str(entry.event.__struct_config__.tag).partition(".")[0]


def place(event: Fact | AnswerEvent | None) -> str:
    """Returns `attempt.index`, or the part of it that the event has."""
    match event:
        case TokenEmitted():
            return f"{event.attempt}.{event.index}"
        case GenerationEnded() | AnswerEnded():
            return f"{event.attempt}.{event.last_index}"
        case GenerationStarted() | GenerationReset() | GenerationHandedOver():
            return str(event.attempt)
        case _:
            return ""


def short(id_: str) -> str:
    """Returns the end of an answer's id, which is unique within the chat."""
    return id_[-SHOWN_OF_ID:]


def words(entry: Entry) -> str:
    """Returns the fields of an event as one line: `model demo/20x20ms, worker ...`."""
    if entry.event is None:
        raw = entry.stored.data[:RAW_MAX_BYTES]
        more = "…" if len(entry.stored.data) > len(raw) else ""
        return printable(f"on {entry.stored.subject}, {entry.reason}: {raw!r}{more}")
    given = {key: value for key, value in _details(entry.event).items() if value not in (None, "", 0, {}, ())}
    return printable(", ".join(f"{key} {_format(value)}".strip() for key, value in given.items()))


def _details(event: Fact | AnswerEvent) -> Details:
    match event:
        case MessageRequested() | AnswerRequested():
            return _request_details(event)
        case AnswerEnded():
            return _end_details(event)
        case GenerationStarted():
            return {
                "model": event.model,
                "worker": event.worker,
                "request": event.request,
                "left out": event.left_out,
                "crashes": event.crashes,
            }
        case TokenEmitted():
            kinds = {"": event.text, "reasoning": event.reasoning, "tool call": event.tool_call}
            kind, said = next(((kind, said) for kind, said in kinds.items() if said), ("", ""))
            return {kind: json.dumps(msgspec.to_builtins(said), ensure_ascii=False)}
        case GenerationReset():
            return {}
        case GenerationHandedOver():
            return _usage(event.usage)
        case GenerationEnded():
            ended = {"outcome": event.outcome, "finish reason": event.finish_reason}
            return ended | _usage(event.usage) | _problem(event.error)
        case _:
            return _chat_details(event)


def _chat_details(
    event: CancelRequested
    | ChatCreated
    | TitleGenerated
    | ChatRenamed
    | ChatMetadataChanged
    | ChatArchived
    | ChatUnarchived
    | ChatDeleted,
) -> Details:
    match event:
        case ChatCreated():
            return {
                "owner": event.owner,
                "title": event.title,
                "model": event.model,
                "system": event.system,
                "metadata": event.metadata,
            }
        case TitleGenerated():
            return {"title": event.title, "by": event.source}
        case ChatRenamed():
            return {"title": event.title}
        case ChatMetadataChanged():
            return {"metadata": event.metadata}
        case CancelRequested() | ChatArchived() | ChatUnarchived() | ChatDeleted():
            return {}
        case _:
            assert_never(event)


def _request_details(event: AnswerRequest) -> Details:
    parent = event.parent if isinstance(event, MessageRequested) else None
    return {
        "model": event.model,
        "replying to": short(parent) if parent else None,
        "params": event.params,
        "instructions": event.instructions,
        "context": event.context,
        "imported": event.imported or None,
    }


def _end_details(event: AnswerEnded) -> Details:
    attempts = f"{len(event.spans)} attempts" if len(event.spans) > 1 else None
    ended = {"model": event.model, "finish reason": event.finish_reason, "characters": len(event.text)}
    problem = _problem(event.error) if isinstance(event, AnswerFailed) else {}
    return ended | {"of": attempts, "left out": event.left_out} | _usage(event.usage) | problem


def _usage(usage: Usage) -> Details:
    return {"input tokens": usage.input_tokens, "output tokens": usage.output_tokens}


def _problem(problem: Problem | None) -> Details:
    if problem is None:
        return {}
    return {"error": problem.code, "status": problem.status, "title": problem.title, "detail": problem.detail}


def _format(value: object) -> str:
    if isinstance(value, dict | tuple):
        return msgspec.json.encode(value).decode()
    return " ".join(str(value).split()) if isinstance(value, str) and "\n" in value else str(value)
