"""Events without what was said in them: each character a filler, so that lengths and line ends stay. Pure.

The law of this file: every field of every event is either replaced or named here as one that may stay. A field that
nobody has thought of is an error, not a leak.
"""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from shared.domain.events import AnswerEvent, Content, Fact, Problem, TextPart, ToolCallFragment

E = TypeVar("E", bound=Fact | AnswerEvent)
FILLER = "x"
_SAID = re.compile(r"\S")

KEPT = frozenset(
    {
        *("chat", "id", "message", "answer", "parent", "request", "context", "imported"),
        *("role", "model", "worker", "source", "outcome", "finish_reason"),
        *("attempt", "index", "last_index", "usage", "spans", "left_out", "crashes"),
    }
)


def filled(text: str) -> str:
    """As many characters, white space where it was. What is joined of filled parts is the filled whole."""
    return _SAID.sub(FILLER, text)


def redacted(event: E) -> E:
    """Raises `KeyError` for a field of an event that this file does not know."""
    fields = [name for name in event.__struct_fields__ if name not in KEPT]
    return structs.replace(event, **{name: _RULES[name](getattr(event, name)) for name in fields})


def _optional(text: str | None) -> str | None:
    return None if text is None else filled(text)


def _values(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Keys and the kinds of values stay. A number says as much as a text."""
    match value:
        case str():
            return filled(value)
        case dict():
            return {key: _values(one) for key, one in value.items()}
        case list() | tuple():
            return [_values(one) for one in value]
        case bool() | None:
            return value and False
        case _:
            return 0


def _params(value: Any) -> Any:  # noqa: ANN401 - JSON
    """Texts only: what a fault hangs on is often a number or a switch."""
    match value:
        case str():
            return filled(value)
        case dict():
            return {key: _params(one) for key, one in value.items()}
        case list() | tuple():
            return [_params(one) for one in value]
        case _:
            return value


def _content(parts: Content) -> Content:
    return tuple(TextPart(filled(part.text)) for part in parts)


def _tool_call(call: ToolCallFragment | None) -> ToolCallFragment | None:
    return None if call is None else structs.replace(call, arguments=filled(call.arguments))


def _error(error: Problem | None) -> Problem | None:
    """A provider's own words may repeat what it was asked."""
    return None if error is None else structs.replace(error, detail=filled(error.detail))


_RULES: dict[str, Callable[[Any], Any]] = {
    "owner": filled,
    "request_hash": filled,  # of a short message, the message can be guessed from it
    "title": _optional,
    "system": _optional,
    "instructions": _optional,
    "text": filled,
    "reasoning": filled,
    "content": _content,
    "tool_call": _tool_call,
    "tool_calls": lambda calls: tuple(_tool_call(call) for call in calls),
    "metadata": _values,
    "params": _params,
    "error": _error,
}


def unknown_fields(events: tuple[type[msgspec.Struct], ...]) -> set[str]:
    """Those that `redacted` would stumble over."""
    return {name for event in events for name in event.__struct_fields__} - KEPT - set(_RULES)
