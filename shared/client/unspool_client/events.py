"""The events of an answer's stream. Pure."""

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from unspool_client.decoding import Undecodable
from unspool_client.decoding import decode as decode_json
from unspool_client.sse_decoder import Frame

_TOKEN_ID = re.compile(r"([1-9][0-9]{0,8})\.([1-9][0-9]{0,17})")
T = TypeVar("T")

Status = Literal["completed", "failed", "cancelled"]


class Breach(Exception):
    """The stream violates the contract. Reconnect after the last valid event."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of the provider."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason of a failed answer."""

    code: str = ""
    title: str = ""
    detail: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCallFragment:
    """A fragment of a tool call. Concatenate the fragments of the same `index`, in order."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt started. `left_out` messages did not fit into the model's context window."""

    attempt: int
    model: str = ""
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer. Exactly one of `text`, `reasoning` and `tool_call` is set. `id` is its cursor."""

    id: str
    attempt: int
    index: int
    text: str = ""
    reasoning: str = ""
    tool_call: ToolCallFragment | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """Discards everything so far: the attempt starts from the beginning."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Replaces everything so far."""

    attempt: int
    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallFragment, ...] = ()
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The last event. A read with `after=cursor` includes the answer."""

    status: Status
    last_index: int
    cursor: str
    id: str = ""
    finish_reason: str = ""
    usage: Usage = Usage()
    error: Problem | None = None


StreamEvent = Started | Token | Reset | Snapshot | Done


@dataclass(frozen=True, slots=True)
class _TokenData:
    text: str = ""
    reasoning: str = ""
    tool_call: ToolCallFragment | None = None


def decode(frame: Frame) -> StreamEvent | None:
    """Returns the event, or None for an unknown event of a later version. Raises `Breach` if it is malformed."""
    match frame.event:
        case "started":
            return _decoded(frame, Started)
        case "token":
            return _token(frame)
        case "reset":
            return _decoded(frame, Reset)
        case "snapshot":
            return replace(_decoded(frame, Snapshot), id=frame.id or None)
        case "done":
            return replace(_decoded(frame, Done), id=frame.id or "")
        case _:
            return None


def parse_token_id(text: str) -> tuple[int, int] | None:
    """Returns attempt and index, or None. They only serve to detect gaps; the server interprets the cursor."""
    found = _TOKEN_ID.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


def _token(frame: Frame) -> Token:
    numbers = parse_token_id(frame.id or "")
    if frame.id is None or numbers is None:
        raise Breach(f"a token with the id {frame.id!r}")
    data = _decoded(frame, _TokenData)
    return Token(frame.id, *numbers, data.text, data.reasoning, data.tool_call)


def _decoded(frame: Frame, kind: type[T]) -> T:
    try:
        return decode_json(frame.data, kind)
    except Undecodable as error:
        raise Breach(f"an event {frame.event!r} that cannot be read: {error}") from error
