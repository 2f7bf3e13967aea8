"""Encodes answer streams as server-sent events, and parses cursors. Pure.

The follower encodes each frame once; all watchers share its bytes.
"""

import re
from collections.abc import Sequence as Items
from typing import Any

import msgspec
from msgspec import Struct

from shared.domain.answer import AnswerState
from shared.domain.events import (
    AnswerEnded,
    AnswerEvent,
    AnswerFailed,
    GenerationEnded,
    GenerationHandedOver,
    GenerationReset,
    GenerationStarted,
    TokenEmitted,
    ToolCallFragment,
)
from shared.domain.subjects import Attempt, Index, Sequence

KEEP_ALIVE = b": keep-alive\n\n"
_CURSOR = re.compile(r"([1-9][0-9]{0,8})\.(?:(end)|([1-9][0-9]{0,17})(r?))")
_FACTS_CURSOR = re.compile(r"c([0-9]{1,18})")
_json = msgspec.json.Encoder()
_LINE_BREAKS = {b"\xc2\x85": b"\\u0085", b"\xe2\x80\xa8": b"\\u2028", b"\xe2\x80\xa9": b"\\u2029"}
"""Characters that are no line breaks in an event stream, but at which common clients such as httpx-sse split lines."""


class Cursor(Struct, frozen=True):
    """The last event that a client received: a token, the end (`index` is None), or a reset after the token `index`."""

    attempt: Attempt
    index: Index | None
    is_reset: bool = False

    def __str__(self) -> str:
        at = "end" if self.index is None else f"{self.index}{'r' if self.is_reset else ''}"
        return f"{self.attempt}.{at}"


def parse_cursor(text: str) -> Cursor | None:
    """Returns the cursor, or None for a malformed text."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        return None
    attempt, end, index, reset = found.groups()
    return Cursor(Attempt(int(attempt)), None if end else Index(int(index)), bool(reset))


def facts_cursor(sequence: Sequence) -> str:
    """Returns the cursor of a fact: `c` and its sequence."""
    return f"c{sequence}"


def parse_facts_cursor(text: str) -> Sequence | None:
    """Returns the sequence of a fact's cursor, or None for a malformed text."""
    found = _FACTS_CURSOR.fullmatch(text)
    return Sequence(int(found[1])) if found else None


def encode(event: str, data: Any, id_: str | None = None) -> bytes:  # noqa: ANN401 - whatever msgspec can encode
    """Returns the frame of one event. Its data is one line, also for clients that split lines by Unicode's rules.

    An empty id resets the client's last event id: it then reconnects without a cursor.
    """
    head = "" if id_ is None else f"id: {id_}\n"
    line = _json.encode(data)
    for raw, escaped in _LINE_BREAKS.items():
        if raw in line:
            line = line.replace(raw, escaped)
    return b"%bevent: %b\ndata: %b\n\n" % (head.encode(), event.encode(), line)


def preamble(retry_milliseconds: int) -> bytes:
    """Returns the first bytes of every stream: the client's reconnection time."""
    return b"retry: %d\n\n" % retry_milliseconds


def cursor_of_reset(attempt: Attempt, last_index: Index) -> Cursor | None:
    """Returns the cursor of a reset; None before the first token, when there is nothing to take back."""
    return Cursor(attempt, last_index, is_reset=True) if last_index else None


def frame_of(event: AnswerEvent, last_index: Index) -> bytes | None:
    """Returns the frame of an event of the answer's subject, or None if clients do not get this event.

    `last_index` is that of the newest token, up to this event. A reset has an id too: the log may lose it, and a client
    that has dropped its text must not continue after the token before it.
    """
    match event:
        case GenerationStarted():
            data: dict[str, Any] = {"attempt": event.attempt, "model": event.model}
            if event.left_out:
                data["left_out"] = event.left_out
            return encode("started", data)
        case TokenEmitted():
            return encode("token", _token(event), f"{event.attempt}.{event.index}")
        case GenerationReset():
            cursor = cursor_of_reset(event.attempt, last_index)
            return encode("reset", {"attempt": event.attempt}, str(cursor) if cursor else None)
        case GenerationHandedOver() | GenerationEnded():
            return None


def _token(event: TokenEmitted) -> dict[str, Any]:
    if event.tool_call is not None:
        return {"tool_call": event.tool_call}
    return {"reasoning": event.reasoning} if event.reasoning else {"text": event.text}


def snapshot(state: AnswerState) -> bytes:
    """Returns a frame with the whole answer so far. Its id is that of the last token, or of a reset after it, or empty
    if there is none.
    """
    # Without spans, a reset has discarded every token.
    cursor = (
        Cursor(state.last_token_attempt, state.last_index)
        if state.spans
        else cursor_of_reset(state.attempt, state.last_index)
    )
    said = (state.whole_text, state.whole_reasoning, state.tool_calls)
    return _snapshot(*said, state.attempt, state.last_index, str(cursor or ""))


def snapshot_of_end(end: AnswerEnded) -> bytes:
    """Returns the `snapshot` of an answer that has ended."""
    cursor = str(last_token(end)) if end.last_index else ""
    return _snapshot(end.text, end.reasoning, end.tool_calls, end.attempt, end.last_index, cursor)


def last_token(end: AnswerEnded) -> Cursor:
    """Returns the cursor of the last token. Tokens that a reset discarded belong to no span."""
    return Cursor(end.spans[-1].attempt if end.spans else end.attempt, end.last_index)


def _snapshot(
    text: str,
    reasoning: str,
    tool_calls: Items[ToolCallFragment],
    attempt: Attempt,
    index: Index,
    cursor: str,
) -> bytes:
    data = {"text": text, "reasoning": reasoning, "attempt": attempt, "index": index}
    if tool_calls:
        data["tool_calls"] = tool_calls
    return encode("snapshot", data, cursor)


def done(end: AnswerEnded, sequence: Sequence) -> bytes:
    """Returns the last frame of an answer."""
    return encode("done", end_data(end, sequence), f"{end.attempt}.end")


def end_data(end: AnswerEnded, sequence: Sequence) -> dict[str, Any]:
    """Returns the fields of an outcome for `done` and for the feed."""
    data: dict[str, Any] = {
        "status": end.outcome,
        "finish_reason": end.finish_reason,
        "usage": end.usage,
        "last_index": end.last_index,
        "cursor": facts_cursor(sequence),
    }
    if isinstance(end, AnswerFailed):
        data["error"] = end.error
    return data
