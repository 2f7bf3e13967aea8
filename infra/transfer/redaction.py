"""Redacts events: replaces each character of a text by a filler, which keeps lengths and line ends. Pure.

Invariant: every field of every event is either masked by a rule or listed in `KEPT`. An unknown field is an error,
never a leak.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from shared.domain.events import AnswerEvent, Content, Fact, Problem, TextPart, ToolCallFragment

E = TypeVar("E", bound=Fact | AnswerEvent)
FILLER = "x"
_VISIBLE = re.compile(r"\S")

KEPT = frozenset(
    {
        *("chat", "id", "message", "answer", "parent", "request", "context", "imported"),
        *("role", "model", "worker", "source", "outcome", "finish_reason"),
        *("attempt", "index", "last_index", "usage", "spans", "left_out", "crashes"),
    }
)


def mask(text: str) -> str:
    """Replaces every character except white space. Masked parts, joined, equal the masked whole."""
    return _VISIBLE.sub(FILLER, text)


def redact(event: E) -> E:
    """Returns the event with masked texts. Raises `KeyError` for a field that has no rule."""
    fields = [name for name in event.__struct_fields__ if name not in KEPT]
    return structs.replace(event, **{name: _RULES[name](getattr(event, name)) for name in fields})


def _mask_optional(text: str | None) -> str | None:
    return None if text is None else mask(text)


def _mask_values(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Masks all values, numbers included. Keeps keys and the types of values."""
    match value:
        case str():
            return mask(value)
        case dict():
            return {key: _mask_values(one) for key, one in value.items()}
        case list() | tuple():
            return [_mask_values(one) for one in value]
        case bool() | None:
            return value and False
        case _:
            return 0


def _mask_texts(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Masks texts. Keeps numbers and booleans, which are often the cause of a problem."""
    match value:
        case str():
            return mask(value)
        case dict():
            return {key: _mask_texts(one) for key, one in value.items()}
        case list() | tuple():
            return [_mask_texts(one) for one in value]
        case _:
            return value


def _mask_content(parts: Content) -> Content:
    return tuple(TextPart(mask(part.text)) for part in parts)


def _mask_tool_call(call: ToolCallFragment | None) -> ToolCallFragment | None:
    return None if call is None else structs.replace(call, arguments=mask(call.arguments))


def _mask_error(error: Problem | None) -> Problem | None:
    """Masks the detail: a provider's message may quote the prompt."""
    return None if error is None else structs.replace(error, detail=mask(error.detail))


_RULES: dict[str, Callable[[Any], Any]] = {
    "owner": mask,
    "request_hash": mask,  # A short message can be guessed from its hash.
    "title": _mask_optional,
    "system": _mask_optional,
    "instructions": _mask_optional,
    "text": mask,
    "reasoning": mask,
    "content": _mask_content,
    "tool_call": _mask_tool_call,
    "tool_calls": lambda calls: tuple(_mask_tool_call(call) for call in calls),
    "metadata": _mask_values,
    "params": _mask_texts,
    "error": _mask_error,
}


def unknown_fields(events: tuple[type[msgspec.Struct], ...]) -> set[str]:
    """Returns the fields of these events for which `redact` would raise."""
    return {name for event in events for name in event.__struct_fields__} - KEPT - set(_RULES)
