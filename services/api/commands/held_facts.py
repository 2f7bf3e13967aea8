"""The newest facts of CHATS that this process has followed, found by chat and by sequence."""

from collections import OrderedDict, deque
from collections.abc import Iterator

from shared.domain.subjects import ChatId, Sequence
from shared.log.recorded import Recorded


class HeldFacts:
    """A window over CHATS of at most `facts_max` facts: the oldest is evicted for the newest. Owned by `ChatStates`."""

    def __init__(self, facts_max: int) -> None:
        self._facts_max = facts_max
        self._by_sequence: OrderedDict[Sequence, Recorded] = OrderedDict()
        self._by_chat: dict[ChatId, deque[Recorded]] = {}
        self._newest = Sequence(0)

    def __len__(self) -> int:
        return len(self._by_sequence)

    @property
    def newest(self) -> Sequence:
        """The sequence of the newest fact; 0 when there is none."""
        return self._newest

    def add(self, recorded: Recorded) -> Sequence | None:
        """Adds the next fact; sequences must increase. Returns the sequence of the evicted fact, if any."""
        evicted = self._evict_oldest() if len(self._by_sequence) >= self._facts_max else None
        self._by_sequence[recorded.sequence] = recorded
        self._by_chat.setdefault(recorded.chat, deque()).append(recorded)
        self._newest = recorded.sequence
        return evicted

    def at(self, sequence: Sequence) -> Recorded | None:
        """Returns the fact with this sequence, if it is held."""
        return self._by_sequence.get(sequence)

    def of(self, chat: ChatId, after: Sequence) -> Iterator[Recorded]:
        """Yields the facts of a chat after a sequence, in order. Costs what the chat holds, not what all chats hold."""
        for recorded in self._by_chat.get(chat, ()):
            if recorded.sequence > after:
                yield recorded

    def after(self, sequence: Sequence, most: int) -> list[Recorded] | None:
        """Returns all facts after a sequence, in order, or None if they are more than `most`. Costs what it returns."""
        found: list[Recorded] = []
        for recorded in reversed(self._by_sequence.values()):
            if recorded.sequence <= sequence:
                break
            if len(found) == most:
                return None
            found.append(recorded)
        found.reverse()
        return found

    def clear(self) -> None:
        """Drops all facts, because the log lost events that were followed."""
        self._by_sequence.clear()
        self._by_chat.clear()
        self._newest = Sequence(0)

    def _evict_oldest(self) -> Sequence:
        sequence, recorded = self._by_sequence.popitem(last=False)
        of_chat = self._by_chat[recorded.chat]
        of_chat.popleft()
        if not of_chat:
            del self._by_chat[recorded.chat]
        return sequence
