"""Orders a chat's events by the time at which they happened. Pure.

Invariant: no event is omitted, not even one that cannot be decoded or that belongs to no known request.
"""

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator

from msgspec import Struct

from shared.domain import subjects
from shared.domain.events import (
    AnswerEnded,
    AnswerEvent,
    AnswerRequested,
    CatalogueAnnounced,
    Fact,
    MessageRequested,
)
from shared.domain.subjects import CHATS, AnswerId
from shared.log.recorded import Recorded, Unknown


class Entry(Struct, frozen=True):
    """A stored event and its decoded form; `event` is None if it cannot be decoded, for `reason`."""

    stored: Recorded
    stream: str
    event: Fact | AnswerEvent | None
    reason: str = ""

    @property
    def answer(self) -> AnswerId | None:
        """The event's answer, or None."""
        if self.stream == CHATS:
            return getattr(self.event, "answer", None)
        return self.stored.answer


def entry(stored: Recorded) -> Entry:
    """Returns the entry of a recorded event."""
    stream = subjects.stream_of(stored.subject)
    match stored.event:
        case Unknown(reason=reason):
            return Entry(stored, stream, None, reason)
        case CatalogueAnnounced():
            return Entry(stored, stream, None, "it is not an event of a chat")
        case event:
            return Entry(stored, stream, event)


def interleave(facts: Iterable[Entry], events: Iterable[Entry]) -> Iterator[Entry]:
    """Yields all events by the broker's time, but an answer's events never before its request or after its end.

    Facts keep their order, and so do the events of an answer, even if the brokers' clocks differ.
    """
    waiting: dict[AnswerId | None, deque[Entry]] = defaultdict(deque)
    for event in events:
        waiting[event.answer].append(event)
    begun: list[AnswerId] = []
    for fact in facts:
        yield from _take_before(fact, {answer: waiting[answer] for answer in begun})
        yield fact
        begun = [answer for answer in begun if waiting[answer]]
        if isinstance(fact.event, MessageRequested | AnswerRequested):
            begun.append(fact.event.answer)
    yield from _in_order(itertools.chain.from_iterable(waiting.values()))


def _take_before(fact: Entry, begun: dict[AnswerId, deque[Entry]]) -> list[Entry]:
    taken = []
    for answer, events in begun.items():
        ended = fact.answer == answer and is_end(fact)
        while events and (ended or events[0].stored.time <= fact.stored.time):
            taken.append(events.popleft())
    return _in_order(taken)


def _in_order(events: Iterable[Entry]) -> list[Entry]:
    return sorted(events, key=lambda event: event.stored.sequence)


def is_end(fact: Entry) -> bool:
    """Returns True for the fact of an answer's end."""
    return isinstance(fact.event, AnswerEnded)
