"""The events of an answer's stream, as a program has them. Pure."""

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
    """The stream is not as the contract has it: read again, from the last event that was in order."""


@dataclass(frozen=True, slots=True)
class Usage:
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an answer failed."""

    code: str = ""
    title: str = ""
    detail: str = ""
    status: int | None = None


@dataclass(frozen=True, slots=True)
class ToolCallFragment:
    """Fragments of the same `index` belong together, in order."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """A worker began, or another went on. `left_out` messages of the chat did not fit into the model's window."""

    attempt: int
    model: str = ""
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """Exactly one of `text`, `reasoning` and `tool_call` is set. `id` is the cursor to go on from."""

    id: str
    attempt: int
    index: int
    text: str = ""
    reasoning: str = ""
    tool_call: ToolCallFragment | None = None


@dataclass(frozen=True, slots=True)
class Reset:
    """What was said so far is void: this attempt begins anew."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Replaces all that came before."""

    attempt: int
    index: int
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallFragment, ...] = ()
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The last event. A read with `after=cursor` sees the answer in the history."""

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
    """None for an event of a later version, which is passed over. Raises `Breach` on one that cannot be read."""
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
    """Attempt and index. Only to see that nothing is missing: where to go on, the server reads from it."""
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
