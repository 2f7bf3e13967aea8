"""A replay for a program: a JSON document for each event, with the event as it is stored."""

import base64
import sys
from typing import Any

import msgspec

from infra.inspect.describing import RAW_MAX_BYTES
from infra.inspect.entries import Entry
from infra.inspect.replay_lines import timestamp


class JsonLines:
    def show(self, entry: Entry) -> None:
        stored = entry.stored
        line: dict[str, Any] = {
            "stream": entry.stream,
            "subject": stored.subject,
            "sequence": stored.sequence,
            "time": timestamp(stored.time),
        }
        if entry.event is None:
            line |= {"undecodable": entry.reason, "bytes": len(stored.data)}
        line |= _event(stored.data)
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)

    def end(self) -> None:
        pass


def _event(data: bytes) -> dict[str, Any]:
    """On one line, with its numbers as they are written; what is no JSON, as the beginning of its bytes."""
    try:
        return {"event": msgspec.Raw(msgspec.json.format(data, indent=-1))}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {"base64": base64.b64encode(data[:RAW_MAX_BYTES]).decode()}
