"""A replay for programs: one JSON document per event, with the stored event."""

import base64
import sys
from typing import Any

import msgspec

from infra.inspect.describing import RAW_MAX_BYTES
from infra.inspect.entries import Entry
from infra.inspect.replay_lines import timestamp
from infra.terminal.printable import escape_json


class JsonLines:
    """A `Printer` that writes JSON to standard output and notes to standard error."""

    def show(self, entry: Entry) -> None:
        """Writes one line and flushes it."""
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
        sys.stdout.write(escape_json(msgspec.json.encode(line).decode()) + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Writes a note to standard error."""
        print(text, file=sys.stderr)

    def end(self) -> None:
        pass


def _event(data: bytes) -> dict[str, Any]:
    """Returns the stored JSON on one line with its numbers unchanged, or the first bytes if it is not JSON."""
    try:
        return {"event": msgspec.Raw(msgspec.json.format(data, indent=-1))}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {"base64": base64.b64encode(data[:RAW_MAX_BYTES]).decode()}
