"""What a log holds, and what appends, workers and followers need of one: the protocols that a simulation can stand in for."""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from shared.domain.subjects import Sequence
from shared.log.recorded import Recorded


class Position(Struct, frozen=True):
    """Where a stream begins and ends. `created` tells one incarnation of it from another."""

    first: Sequence
    last: Sequence
    created: str


class Log(Protocol):
    """What appends, workers and commands need of a log."""

    async def publish(
        self, subject: str, data: bytes, *, expected: Sequence, scope: str, id_: str = ""
    ) -> Sequence:
        """One try. Raises `SequenceConflict`, `LogFull` or, when it is not known whether it was stored, `LogUnavailable`."""
        ...

    async def last(self, subject: str) -> Recorded | None:
        """The newest message on a subject or wildcard, from the leader."""
        ...

    async def next(self, subject: str, at: Sequence) -> Recorded | None:
        """The first message at or after `at` on a subject or wildcard, from the leader."""
        ...

    async def read(self, subject: str, after: Sequence) -> list[Recorded]:
        """All that is on a subject or wildcard after a sequence, in order, complete up to the leader's end."""
        ...

    async def fetch(self, stream: str, sequences: Iterable[Sequence]) -> list[Recorded | None]:
        """Exactly these messages, in the order asked for; None for one that is gone."""
        ...

    async def purge(self, subject: str, before: Sequence | None = None) -> None:
        """Removes what is on a subject or wildcard, up to but not including `before`."""
        ...


class PushFeed(Protocol):
    """What a follower is told, in order, without awaiting."""

    def stored(self, stored: Recorded, consumer_sequence: int) -> None: ...
    def heartbeat(self, last_consumer_sequence: int) -> None: ...
    def begun(self, pending: int) -> None:
        """The consumer was made; so many messages were there for it then."""
        ...
