"""`unspool export`: prints the stored events of a chat, one line of JSON per event."""

import asyncio
import sys

from msgspec import structs

from infra.inspect.chat_log import ChatLog
from infra.inspect.entries import Entry
from infra.inspect.replay_json import JsonLines
from infra.transfer.redaction import redact
from shared.domain import subjects
from shared.domain.errors import NotFound, UndecodableEvent
from shared.domain.events import ChatDeleted, encode
from shared.domain.subjects import ChatId
from shared.log.event_log import EventLog
from shared.logging import configure
from shared.settings import Settings


def main(settings: Settings, chat: str, *, redact: bool) -> int:
    """Prints the export and returns the exit status.

    Raises `NotFound`. Raises `UndecodableEvent` with `redact`: an event that cannot be decoded cannot be redacted.
    """
    settings = structs.replace(settings, log_level="error")
    configure(settings, "export")
    asyncio.run(_export(settings, chat, redact=redact))
    return 0


async def _export(settings: Settings, given: str, *, redact: bool) -> None:
    chat = ChatId(subjects.client_id(subjects.chat_of(given)) or "")
    if not chat:
        raise NotFound("chat", given)
    log = await EventLog.connect(settings, "unspool-export")
    try:
        entries = [entry async for entry in ChatLog(log, settings, chat).history()]
    finally:
        await log.close()
    if any(isinstance(entry.event, ChatDeleted) for entry in entries):
        raise NotFound("chat", chat)  # Only its tombstone is left.
    printer = JsonLines()
    for entry in [_redact_entry(entry) for entry in entries] if redact else entries:
        printer.show(entry)
    sys.stdout.flush()


def _redact_entry(entry: Entry) -> Entry:
    stored = entry.stored
    if entry.event is None:
        raise UndecodableEvent(stored.subject, stored.sequence, f"{entry.reason}: it cannot be redact")
    event = redact(entry.event)
    return Entry(structs.replace(stored, data=encode(event)), entry.stream, event)
