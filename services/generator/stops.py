"""Cancellations and deletions that this process has followed: with them, a first delivery needs no read of its chat.

Invariant: what `since` returns is complete. A stop that is appended later is followed later, when the answer is in work.
"""

from collections import deque

from shared.domain.events import AnswerRequest, CancelRequested, ChatDeleted
from shared.domain.subjects import AnswerId, ChatId, Sequence
from shared.log.follower import Follower
from shared.log.recorded import Recorded

StopFact = CancelRequested | ChatDeleted


class Stops:
    """The newest `stops_max` cancellations and deletions, in order. The worker owns it; its follower feeds it."""

    def __init__(self, stops_max: int) -> None:
        self._stops_max = stops_max
        self._held: deque[tuple[Sequence, StopFact]] = deque()
        self._by_key: dict[AnswerId | ChatId, list[StopFact]] = {}
        self._complete_after = Sequence(0)

    def follow(self, recorded: Recorded) -> None:
        """Holds a stop; the oldest is evicted for the newest."""
        fact = recorded.event
        if not isinstance(fact, CancelRequested | ChatDeleted):
            return
        if len(self._held) >= self._stops_max:
            self._evict_oldest()
        self._held.append((recorded.sequence, fact))
        self._by_key.setdefault(_key(fact), []).append(fact)

    def clear(self) -> None:
        """Drops all stops, because the log lost events that were followed."""
        self._held.clear()
        self._by_key.clear()
        self._complete_after = Sequence(0)

    def since(self, request: AnswerRequest, sequence: Sequence, follower: Follower) -> list[StopFact] | None:
        """Returns the stops of a request at this sequence, or None if this process may have missed one."""
        known_after = max(self._complete_after, follower.began_after)
        if sequence < known_after or not follower.is_sound:
            return None
        keys: tuple[AnswerId | ChatId, ...] = (request.answer, request.chat)
        return [fact for key in keys for fact in self._by_key.get(key, ())]

    def _evict_oldest(self) -> None:
        self._complete_after, fact = self._held.popleft()
        key = _key(fact)
        self._by_key[key].remove(fact)
        if not self._by_key[key]:
            del self._by_key[key]


def _key(fact: StopFact) -> AnswerId | ChatId:
    return fact.answer if isinstance(fact, CancelRequested) else fact.chat
