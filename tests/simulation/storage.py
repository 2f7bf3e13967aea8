"""A stream as JetStream stores it: messages by sequence, found by subject."""

from collections.abc import Iterable
from datetime import datetime

from shared.domain.subjects import Sequence
from shared.log.recorded import Recorded, record


def matches(pattern: str, subject: str) -> bool:
    if pattern == subject:
        return True
    if "*" not in pattern:
        return False
    wanted, given = pattern.split("."), subject.split(".")
    return len(wanted) == len(given) and all(w in {"*", g} for w, g in zip(wanted, given, strict=True))


class Stream:
    def __init__(self, name: str) -> None:
        self.name = name
        self.messages: dict[Sequence, Recorded] = {}
        self.last_sequence = Sequence(0)
        self.ids: dict[str, Sequence] = {}
        self._by_chat: dict[str, list[Recorded]] = {}

    def on(self, pattern: str) -> list[Recorded]:
        """Returns the messages of a subject or wildcard, in order."""
        chat = pattern.split(".")[1]
        held: Iterable[Recorded] = self.messages.values() if chat == "*" else self._by_chat.get(chat, ())
        return [one for one in held if matches(pattern, one.subject)]

    def last(self, pattern: str) -> Recorded | None:
        found = self.on(pattern)
        return found[-1] if found else None

    def append(self, subject: str, data: bytes, time: datetime, id_: str) -> Recorded:
        self.last_sequence = Sequence(self.last_sequence + 1)
        stored = record(subject, self.last_sequence, time, data)
        self.messages[stored.sequence] = stored
        self._by_chat.setdefault(stored.chat, []).append(stored)
        if id_:
            self.ids[id_] = stored.sequence
        return stored

    def remove(self, gone: Iterable[Recorded]) -> None:
        for one in gone:
            del self.messages[one.sequence]
            self._by_chat[one.chat].remove(one)

    def lose_since(self, time: datetime) -> None:
        """Deletes the newest messages; their sequences are used again."""
        lost = [one for one in self.messages.values() if one.time >= time]
        self.remove(lost)
        if lost:
            self.last_sequence = Sequence(lost[0].sequence - 1)
            self.ids = {id_: at for id_, at in self.ids.items() if at <= self.last_sequence}
