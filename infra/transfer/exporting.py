"""`unspool export`: prints the stored events of a chat, one line of JSON per event."""

import sys

from msgspec import structs

from infra.inspect.chat_log import ChatLog
from infra.inspect.entries import Entry
from infra.inspect.replay_json import JsonLines
from infra.log_command import parse_chat, run_command
from infra.transfer.redaction import redact
from shared.domain.errors import NotFound, UndecodableEvent
from shared.domain.events import ChatDeleted, encode
from shared.domain.subjects import ChatId
from shared.log.event_log import EventLog
from shared.settings import Settings


def main(settings: Settings, chat: str, *, redact: bool) -> int:
    """Prints the export and returns the exit status.

    Raises `NotFound`. Raises `UndecodableEvent` with `redact`: an event that cannot be decoded cannot be redacted.
    """
    parsed = parse_chat(chat)
    run_command("export", settings, lambda settings: _export(settings, parsed, redact=redact))
    return 0


async def _export(settings: Settings, chat: ChatId, *, redact: bool) -> None:
    async with EventLog.open(settings, "unspool-export") as log:
        entries = [entry async for entry in ChatLog(log, settings, chat).history()]
    if any(isinstance(entry.event, ChatDeleted) for entry in entries):
        raise NotFound("chat", chat)  # Only its tombstone is left.
    printer = JsonLines()
    for entry in [_redact_entry(entry) for entry in entries] if redact else entries:
        printer.show(entry)
    sys.stdout.flush()


def _redact_entry(entry: Entry) -> Entry:
    stored = entry.stored
    if entry.event is None:
        raise UndecodableEvent(stored.subject, stored.sequence, f"{entry.reason}: it cannot be redacted")
    event = redact(entry.event)
    return Entry(structs.replace(stored, data=encode(event)), entry.stream, event)
