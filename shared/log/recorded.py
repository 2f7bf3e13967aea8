"""An event as the log holds it, decoded once: where it is followed or read, and nowhere after that.

An event that this version does not know (a newer version wrote it, or its bytes are damaged) is `Unknown`. One policy
holds for it. The API passes it over: its sequence counts, its content does not. The projector stops and says why.
A worker leaves the answer to a newer one (`UndecodableEvent`). Tools show its bytes.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from types import MappingProxyType

import msgspec
from msgspec import Struct

from shared.domain import subjects
from shared.domain.errors import UndecodableEvent
from shared.domain.events import (
    AnswerEvent,
    CatalogueAnnounced,
    Fact,
    decode_answer_event,
    decode_catalogue,
    decode_fact,
)
from shared.domain.subjects import AnswerId, ChatId, Sequence

Event = Fact | AnswerEvent | CatalogueAnnounced


class Unknown(Struct, frozen=True):
    """An event that cannot be decoded; `reason` says why, without its content."""

    reason: str


class Recorded(Struct, frozen=True):
    """An event with its place in the log. `time` is the broker's; `data` are the bytes as they are stored.

    `answer` is set in the stream TOKENS only; `chat` is empty in MODELS.
    """

    subject: str
    sequence: Sequence
    time: datetime
    data: bytes
    chat: ChatId
    answer: AnswerId | None
    event: Event | Unknown


_DECODERS: Mapping[str, Callable[[bytes], Event]] = MappingProxyType(
    {subjects.CHATS: decode_fact, subjects.TOKENS: decode_answer_event, subjects.MODELS: decode_catalogue}
)


def record(subject: str, sequence: Sequence, time: datetime, data: bytes) -> Recorded:
    """Decodes a stored message. Raises `ValueError` on a subject of no stream, and on nothing else."""
    stream, chat, answer = subjects.parse(subject)
    return Recorded(subject, sequence, time, data, chat, answer, decode(stream, data))


def decode(stream: str, data: bytes) -> Event | Unknown:
    """Returns the event that a stream holds as these bytes, upcast to this version's form."""
    try:
        return _DECODERS[stream](data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return Unknown(str(error) or type(error).__name__)


def facts_of(found: Iterable[Recorded | None]) -> list[Fact]:
    """Returns the facts among events of CHATS, in order. Passes over what is gone, and what is unknown."""
    return [one.event for one in found if one is not None and isinstance(one.event, Fact)]


def answer_events_of(found: Iterable[Recorded]) -> list[tuple[AnswerEvent, Sequence]]:
    """Returns the events of an answer with their sequences. Raises `UndecodableEvent` if any of them is unknown."""
    return [(answer_event_of(one), one.sequence) for one in found]


def answer_event_of(recorded: Recorded) -> AnswerEvent:
    """Returns the event of an answer's subject. Raises `UndecodableEvent`."""
    event = recorded.event
    if isinstance(event, AnswerEvent):
        return event
    reason = (
        event.reason if isinstance(event, Unknown) else f"{type(event).__name__} is no event of an answer"
    )
    raise UndecodableEvent(recorded.subject, recorded.sequence, reason)
