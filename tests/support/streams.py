"""Answer streams as a server would send them, generated from a few numbers, for tests of clients. Pure."""

import json
from typing import Any

from hypothesis import strategies as st
from msgspec import Struct


class Sent(Struct, frozen=True):
    """One event on the wire. `after`: the cursor of the last token up to this event."""

    data: bytes
    after: str | None
    text: str
    """The answer's text after this event."""


def frame(event: str, data: Any, id_: str = "") -> bytes:
    """Returns a frame with raw characters: clients must not depend on the escapes that our server sends."""
    head = f"id: {id_}\n" if id_ else ""
    return f"{head}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def started(attempt: int = 1) -> bytes:
    return frame("started", {"attempt": attempt, "model": "a/model"})


def token(index: int, text: str | None = None, attempt: int = 1) -> bytes:
    return frame("token", {"text": f"{index} " if text is None else text}, f"{attempt}.{index}")


def reset(attempt: int) -> bytes:
    return frame("reset", {"attempt": attempt})


def snapshot(text: str, index: int, attempt: int = 1) -> bytes:
    data = {"text": text, "reasoning": "", "attempt": attempt, "index": index}
    return frame("snapshot", data, f"{attempt}.{index}" if index else "")


def done(last_index: int, attempt: int = 1, status: str = "completed") -> bytes:
    data = {"status": status, "finish_reason": "stop", "usage": {}, "last_index": last_index, "cursor": "c9"}
    return frame("done", data, f"{attempt}.end")


KEEP_ALIVE = b": keep-alive\n\n"
RETRY_AT_ONCE = b"retry: 1\n\n"


class Attempt(Struct, frozen=True):
    texts: list[str]
    anew: bool
    """True if the attempt begins with a reset instead of continuing the text."""


TEXTS = st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(
    ["\u2028", "\u0085", "\r\n", "\ufeff", "😀", "data: x\n\n"]
)
ATTEMPTS = st.lists(
    st.builds(Attempt, st.lists(TEXTS.filter(bool), max_size=6), st.booleans()), min_size=1, max_size=4
)


def answer(attempts: list[Attempt]) -> list[Sent]:
    """Returns all events of an answer with these attempts, up to its end."""
    sent: list[Sent] = []
    cursor: str | None = None
    text, index = "", 0

    def send(data: bytes) -> None:
        sent.append(Sent(data, cursor, text))

    for number, attempt in enumerate(attempts, start=1):
        send(started(number))
        if attempt.anew and number > 1:
            text = ""
            send(reset(number))
        for piece in attempt.texts:
            index += 1
            text, cursor = text + piece, f"{number}.{index}"
            send(token(index, piece, number))
    cursor = f"{len(attempts)}.end"
    send(done(index, len(attempts)))
    return sent


def resumed(sent: list[Sent], cursor: str | None) -> bytes:
    """Returns the events that a server sends to a client with this cursor: those after its token."""
    places = [place for place, one in enumerate(sent) if one.after == cursor and one.data.startswith(b"id: ")]
    start = places[0] + 1 if places and cursor else 0
    return RETRY_AT_ONCE + b"".join(one.data for one in sent[start:])
