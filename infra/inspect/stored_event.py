"""`unspool inspect`: prints one stored event with its metadata, for debugging."""

import sys

import msgspec

from infra.inspect.entries import Entry, entry
from infra.inspect.replay_lines import timestamp
from infra.log_command import run_command
from infra.terminal.printable import printable
from shared.domain.errors import UnspoolError
from shared.domain.subjects import Sequence
from shared.log.event_log import EventLog
from shared.log.protocol import Position
from shared.settings import Settings

RAW_MAX_BYTES = 2000
"""Limit for an event that cannot be decoded. Other events are printed as a whole."""


class NoSuchEvent(UnspoolError):
    """The stream has no event at this sequence. The message says why."""

    def __init__(self, stream: str, sequence: int, position: Position) -> None:
        if sequence > position.last:
            why = f"{stream} ends at {position.last}" if position.last else f"{stream} is empty"
        elif sequence < position.first:
            why = f"{stream} begins at {position.first}"
        else:
            why = "it was purged or has expired"
        super().__init__(f"there is no event at sequence {sequence} of {stream}: {why}")


def main(settings: Settings, stream: str, sequence: int) -> int:
    """Prints the event and returns the exit status. Raises `NoSuchEvent`."""
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # the terminal's encoding may lack characters
    found = run_command(
        "inspect", settings, lambda settings: _read_event(settings, stream, Sequence(sequence))
    )
    print(describe(found))
    return 0


async def _read_event(settings: Settings, stream: str, sequence: Sequence) -> Entry:
    async with EventLog.open(settings, "unspool-inspect") as log:
        stored = await log.at(stream, sequence)
        if stored is None:
            raise NoSuchEvent(stream, sequence, await log.position(stream))
        return entry(stored)


def describe(found: Entry) -> str:
    """Returns the event and its metadata as text without control characters."""
    stored = found.stored
    lines = [
        f"stream    {found.stream}",
        f"subject   {stored.subject}",
        f"sequence  {stored.sequence}",
        f"time      {timestamp(stored.time)}",
        f"bytes     {len(stored.data)}",
    ]
    if found.event is not None:
        lines += [f"event     {found.event.__struct_config__.tag}", "", _pretty(stored.data)]
    else:
        lines += [f"event     cannot be decoded: {found.reason}", "", _raw(stored.data)]
    return printable("\n".join(lines))


def _pretty(data: bytes) -> str:
    return msgspec.json.format(data, indent=2).decode(errors="replace")


def _raw(data: bytes) -> str:
    """Returns the data as JSON if it is valid JSON, such as an event of another version; else as bytes."""
    shown = data[:RAW_MAX_BYTES]
    more = f"\n... and {len(data) - len(shown)} bytes more" if len(data) > len(shown) else ""
    if not more:
        try:
            msgspec.json.decode(data)
            return _pretty(data)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
    return repr(shown) + more
