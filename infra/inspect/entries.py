"""What the log holds of a chat, event by event, in the order in which it happened. Pure.

The law of this file: nothing is left out. What cannot be decoded, and what belongs to no request that there
is, comes too.
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
    """An event as it is stored, and what it says; `event` is None if it cannot be decoded, for `reason`."""

    stored: Recorded
    stream: str
    event: Fact | AnswerEvent | None
    reason: str = ""

    @property
    def answer(self) -> AnswerId | None:
        """The answer that it belongs to, if it belongs to one."""
        if self.stream == CHATS:
            return getattr(self.event, "answer", None)
        return self.stored.answer


def entry(stored: Recorded) -> Entry:
    stream = subjects.stream_of(stored.subject)
    match stored.event:
        case Unknown(reason=reason):
            return Entry(stored, stream, None, reason)
        case CatalogueAnnounced():
            return Entry(stored, stream, None, "it is no event of a chat")
        case event:
            return Entry(stored, stream, event)


def interleave(facts: Iterable[Entry], events: Iterable[Entry]) -> Iterator[Entry]:
    """By the broker's time, but an answer's events never before its request, nor after its end.

    Facts keep their order, and so do the events of an answer, whatever the clocks of the brokers said.
    """
    waiting: dict[AnswerId | None, deque[Entry]] = defaultdict(deque)
    for event in events:
        waiting[event.answer].append(event)
    begun: list[AnswerId] = []
    for fact in facts:
        yield from _before(fact, {answer: waiting[answer] for answer in begun})
        yield fact
        begun = [answer for answer in begun if waiting[answer]]
        if isinstance(fact.event, MessageRequested | AnswerRequested):
            begun.append(fact.event.answer)
    yield from _in_order(itertools.chain.from_iterable(waiting.values()))


def _before(fact: Entry, begun: dict[AnswerId, deque[Entry]]) -> list[Entry]:
    taken = []
    for answer, events in begun.items():
        ended = fact.answer == answer and is_end(fact)
        while events and (ended or events[0].stored.time <= fact.stored.time):
            taken.append(events.popleft())
    return _in_order(taken)


def _in_order(events: Iterable[Entry]) -> list[Entry]:
    return sorted(events, key=lambda event: event.stored.sequence)


def is_end(fact: Entry) -> bool:
    return isinstance(fact.event, AnswerEnded)
