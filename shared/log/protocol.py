"""What the services need of a log, as protocols: `EventLog` implements them over NATS, the simulation in virtual time.

Each call raises `LogUnavailable` when the broker does not answer in time.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from shared.domain.subjects import Sequence
from shared.log.queue import Queue
from shared.log.recorded import Recorded


class Position(Struct, frozen=True):
    """Where a stream begins and ends. `created` tells one incarnation of it from another."""

    first: Sequence
    last: Sequence
    created: str


class AppendLog(Protocol):
    """Appends, and the reads that tell what became of one."""

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


class Subscriber(Protocol):
    """Is called for what a subscription brings, in order; it must not block."""

    def receive(self, recorded: Recorded, consumer_sequence: int) -> None:
        """The next event. A gap in `consumer_sequence` means that a delivery is missing."""
        ...

    def heartbeat(self, last_consumer_sequence: int) -> None:
        """The consumer is idle, and has delivered this many events."""
        ...

    def begin(self, pending: int) -> None:
        """The consumer was created; `pending` events were stored for it by then."""
        ...


class Delivery(Protocol):
    """A request as a durable consumer delivered it. One call of `ack` or `nak` ends it; both are best effort."""

    recorded: Recorded
    delivered: int
    """How many times it has been delivered, this time included."""

    async def ack(self) -> None:
        """Waits until the broker has it. If it is lost, the request is redelivered, and its end is found then."""
        ...

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """Has it redelivered after a delay."""
        ...

    async def in_progress(self) -> None:
        """Resets the time after which it is redelivered."""
        ...


class Log(AppendLog, Protocol):
    """All that the services need of a log."""

    @property
    def connected(self) -> bool:
        """Whether the broker is reachable now."""
        ...

    def on_reconnect(self, tell: Callable[[], None]) -> None:
        """Calls `tell` after each reconnect: the log may have lost its tail meanwhile."""
        ...

    async def publish_latest(self, subject: str, data: bytes) -> None:
        """Publishes without a condition, to a subject that keeps its last message only."""
        ...

    async def at(self, stream: str, sequence: Sequence) -> Recorded | None:
        """The event with this sequence, from the leader; None where it was purged, or never was."""
        ...

    async def scan(self, stream: str, after: Sequence, most: int) -> list[Recorded]:
        """The next events of a stream, whatever their subject: at most `most`, fewer where a replica is behind."""
        ...

    async def read_many(self, names: Iterable[str]) -> dict[str, list[Recorded]]:
        """As `read` from the beginning, for many subjects of one stream in one scan of it."""
        ...

    async def latest(self, wildcard: str) -> list[Recorded]:
        """The last event of each subject that matches."""
        ...

    async def first_since(self, stream: str, time: datetime) -> Sequence | None:
        """The first event that was stored at or after a time of the broker's clock."""
        ...

    async def position(self, stream: str) -> Position:
        """Where a stream begins and ends, from its leader."""
        ...

    async def subscribe(
        self,
        stream: str,
        subscriber: Subscriber,
        *,
        start: Sequence | datetime,
        filters: tuple[str, ...] = (),
    ) -> Callable[[], Awaitable[None]]:
        """Creates an ephemeral consumer of this process alone. Returns the call that ends it."""
        ...

    def requests(self, durable: str, free: Callable[[], Awaitable[int]]) -> AsyncGenerator[Delivery, None]:
        """Yields the requests of a durable consumer, for ever. Before each pull, `free` waits for room, and returns it."""
        ...

    async def ack_floor(self, durable: str) -> Sequence:
        """Every request at or below this sequence has been acknowledged."""
        ...

    async def queue(self, durable: str) -> Queue:
        """How a durable consumer stands, from its leader."""
        ...

    async def ask(self, subject: str, question: str, timeout_seconds: float) -> str | None:
        """The answer of the process that listens there; None when none does."""
        ...

    async def listen(self, subject: str, answer: Callable[[str], str]) -> None:
        """Answers the questions to a subject, until the connection is closed."""
        ...
