"""Scripts of a `ScriptedProvider`.

A script is a tuple of steps, which run in order until the client disconnects:

    b"..."          sends these bytes in one chunk
    Raw(b"...")     sends these bytes without chunk framing
    asyncio.Event   waits until the test sets it
    0.02            pauses for this many seconds
    Step.STALL      sends nothing until the client disconnects
    Step.CUT        resets the connection
    Step.HANG_UP    closes the connection cleanly, at once
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from enum import Enum, auto

from msgspec import Struct


class Step(Enum):
    STALL = auto()
    CUT = auto()
    HANG_UP = auto()


class Raw(Struct, frozen=True):
    data: bytes


Script = tuple[bytes | Raw | asyncio.Event | float | Step, ...]


def head(code: int = 200, headers: Mapping[str, str] | None = None) -> Raw:
    lines = [f"HTTP/1.1 {code} Scripted"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return Raw(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


def stream(
    *steps: bytes | Raw | asyncio.Event | float | Step, content_type: str = "text/event-stream"
) -> Script:
    """Returns a chunked response with status 200 that ends cleanly, unless its last step differs."""
    headers = {"content-type": content_type, "transfer-encoding": "chunked"}
    return (head(200, headers), *steps, Raw(b"0\r\n\r\n"))


def document(found: object, code: int = 200, headers: Mapping[str, str] | None = None) -> Script:
    body = found if isinstance(found, bytes) else json.dumps(found).encode()
    all_headers = {"content-type": "application/json", "content-length": str(len(body))} | dict(headers or {})
    return (head(code, all_headers), Raw(body))


def status(
    code: int, message: str = "scripted", headers: Mapping[str, str] | None = None, **error: object
) -> Script:
    """Returns an error response in OpenAI's format."""
    return document({"error": {"message": message, **error}}, code, headers)


def event(found: object, name: str = "") -> bytes:
    data = found if isinstance(found, str) else json.dumps(found)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def openai_events(*texts: str, finish_reason: str | None = "stop", done: bool = True) -> list[bytes]:
    """Returns the events of an OpenAI stream as bytes: role, texts, finish reason, usage, end marker."""

    def chunk(delta: Mapping[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return event({"object": "chat.completion.chunk", "choices": [choice]})

    events = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": text}) for text in texts)]
    if finish_reason:
        events.append(chunk({}, finish_reason))
        usage = {"prompt_tokens": 7, "completion_tokens": len(texts)}
        events.append(event({"object": "chat.completion.chunk", "choices": [], "usage": usage}))
    return [*events, event("[DONE]")] if done else events


def openai(*texts: str, pace_seconds: float = 0.0, finish_reason: str | None = "stop") -> Script:
    """Returns a complete OpenAI response; `pace` adds a pause before each event."""
    return stream(*_paced(openai_events(*texts, finish_reason=finish_reason), pace_seconds))


def anthropic_events(*texts: str, stop_reason: str = "end_turn") -> list[bytes]:
    """Returns the events of an Anthropic stream as bytes, with a ping in between."""
    message = {
        "type": "message",
        "role": "assistant",
        "content": [],
        "usage": {"input_tokens": 7, "output_tokens": 1},
    }
    found: list[dict[str, object]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
            for text in texts
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop_reason, "stop_sequence": None},
            "usage": {"output_tokens": len(texts)},
        },
        {"type": "message_stop"},
    ]
    return [event(one, str(one["type"])) for one in found]


def anthropic(*texts: str, pace_seconds: float = 0.0, stop_reason: str = "end_turn") -> Script:
    return stream(*_paced(anthropic_events(*texts, stop_reason=stop_reason), pace_seconds))


def _paced(events: Iterable[bytes], pace_seconds: float) -> list[bytes | float]:
    return [step for one in events for step in ((pace_seconds, one) if pace_seconds else (one,))]
