"""Response documents: turns rows and states into the JSON of the contract. Pure."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import msgspec

from services.api.read_model import stored_json
from services.api.streaming.sse import facts_cursor
from shared.domain.answer import AnswerState, merge_tool_calls
from shared.domain.chat import ChatState
from shared.domain.events import AnswerEnded, AnswerFailed
from shared.domain.subjects import Sequence

Document = dict[str, Any]


def chat_of_state(state: ChatState, created_at: datetime | None) -> Document:
    """Returns a chat as it stands after a command: without `updated_at`, which only the read model knows."""
    return {
        "id": state.id,
        "title": state.title,
        "model": state.model,
        "system": state.system,
        "metadata": state.metadata,
        "archived": state.archived,
        "created_at": _format_time(created_at),
        "generating": state.generating,
        "cursor": facts_cursor(state.sequence),
    }


def chat_of_row(row: asyncpg.Record, *, generating: bool) -> Document:
    """Returns a chat as the read model has it; its cursor is that of the chat's newest fact."""
    return {
        "id": row["id"],
        "title": row["title"],
        "model": row["model"],
        "system": row["system"],
        "metadata": stored_json.decode(row["metadata"]),
        "archived": row["archived"],
        "created_at": _format_time(row["created_at"]),
        "updated_at": _format_time(row["active_at"]),
        "generating": generating,
        "cursor": facts_cursor(Sequence(row["sequence"])),
    }


def message_of_row(row: asyncpg.Record) -> Document:
    """Returns a node of the chat's tree: a user's message or an answer."""
    common = {
        "id": row["id"],
        "role": row["role"],
        "parent_id": row["parent"],
        "created_at": _format_time(row["created_at"]),
        "metadata": stored_json.decode(row["metadata"]),
    }
    if row["role"] == "user":
        return common | {"content": msgspec.json.decode(row["content"])}
    return common | {
        "status": "generating" if row["status"] == "running" else row["status"],
        "model": row["model"],
        "params": stored_json.decode(row["params"]),
        "text": row["text"],
        "reasoning": row["reasoning"],
        "tool_calls": msgspec.json.decode(row["tool_calls"]),
        "finish_reason": row["finish_reason"],
        "usage": _decode(row["usage"]),
        "error": _decode(row["error"]),
        "attempts": _decode(row["spans"]),
        "left_out": row["left_out"],
        "ended_at": _format_time(row["ended_at"]),
    }


def running_answer(answer: str, state: AnswerState) -> Document:
    """Returns an answer that has not ended, with the text so far and the cursor of its newest event."""
    cursor = f"{state.last_token_attempt}.{state.last_index}" if state.last_index else None
    return _answer(answer, "generating" if state.attempt else "queued", cursor) | {
        "text": state.whole_text,
        "reasoning": state.whole_reasoning,
        "tool_calls": msgspec.to_builtins(merge_tool_calls(state.tool_calls)),
        "model": state.model or None,
        "left_out": state.left_out,
    }


def ended_answer(end: AnswerEnded) -> Document:
    """Returns the document of an answer that has ended."""
    return _answer(end.answer, end.outcome, f"{end.attempt}.end") | {
        "text": end.text,
        "reasoning": end.reasoning,
        "tool_calls": msgspec.to_builtins(end.tool_calls),
        "model": end.model,
        "usage": msgspec.to_builtins(end.usage),
        "finish_reason": end.finish_reason,
        "error": msgspec.to_builtins(end.error) if isinstance(end, AnswerFailed) else None,
        "attempts": msgspec.to_builtins(end.spans),
        "left_out": end.left_out,
    }


def _answer(answer: str, status: str, cursor: str | None) -> Document:
    return {
        "id": answer,
        "status": status,
        "text": "",
        "reasoning": "",
        "usage": None,
        "finish_reason": None,
        "error": None,
        "attempts": None,
        "cursor": cursor,
    }


def _decode(value: str | None) -> Any:  # noqa: ANN401 - JSON
    return None if value is None else msgspec.json.decode(value)


def _format_time(value: datetime | None) -> str | None:
    return (
        None
        if value is None
        else value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
