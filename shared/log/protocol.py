"""Protocols of the log: `EventLog` implements them over NATS, the simulation in virtual time.

Every call raises `LogUnavailable` if the broker does not respond in time.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from shared.domain.subjects import Sequence
from shared.log.queue import Queue
from shared.log.recorded import Recorded


class Position(Struct, frozen=True):
    """The first and last sequence of a stream. `created` differs between incarnations of the stream."""

    first: Sequence
    last: Sequence
    created: str


class AppendLog(Protocol):
    """Appends, and the reads that find out whether an append was stored."""

    async def publish(
        self, subject: str, data: bytes, *, expected: Sequence, scope: str, id_: str = ""
    ) -> Sequence:
        """Tries once. Raises `SequenceConflict` or `LogFull`, or `LogUnavailable` if it may have been stored."""
        ...

    async def last(self, subject: str) -> Recorded | None:
        """Returns the newest message on a subject or wildcard, from the leader."""
        ...

    async def next(self, subject: str, at: Sequence) -> Recorded | None:
        """Returns the first message at or after `at` on a subject or wildcard, from the leader."""
        ...

    async def read(self, subject: str, after: Sequence) -> list[Recorded]:
        """Returns all messages on a subject or wildcard after a sequence, in order, up to the leader's end."""
        ...

    async def fetch(self, stream: str, sequences: Iterable[Sequence]) -> list[Recorded | None]:
        """Returns these messages, in the requested order; None for a message that does not exist."""
        ...

    async def purge(self, subject: str, before: Sequence | None = None) -> None:
        """Deletes the messages on a subject or wildcard before the sequence `before`."""
        ...


class Subscriber(Protocol):
    """Receives the events of a subscription, in order. It must not block."""

    def receive(self, recorded: Recorded, consumer_sequence: int) -> None:
        """Handles the next event. A gap in `consumer_sequence` means that a delivery is missing."""
        ...

    def heartbeat(self, last_consumer_sequence: int) -> None:
        """Handles a heartbeat of an idle consumer that has delivered this many events."""
        ...

    def begin(self, pending: int) -> None:
        """Handles the creation of the consumer, for which `pending` events were stored at that time."""
        ...


class Delivery(Protocol):
    """A request as a durable consumer delivered it. One call of `ack` or `nak` ends it; both are best effort."""

    recorded: Recorded
    delivered: int
    """How many times it has been delivered, this time included."""

    async def ack(self) -> None:
        """Waits until the broker has the acknowledgement.

        If it is lost, the request is redelivered and its end is found then.
        """
        ...

    async def nak(self, delay_seconds: float = 0.0) -> None:
        """Requests a redelivery after a delay."""
        ...

    async def in_progress(self) -> None:
        """Resets the time after which it is redelivered."""
        ...


class Log(AppendLog, Protocol):
    """Everything that the services need of a log."""

    @property
    def connected(self) -> bool:
        """True if the broker is reachable now."""
        ...

    def on_reconnect(self, tell: Callable[[], None]) -> None:
        """Calls `tell` after each reconnect: the log may have lost its tail meanwhile."""
        ...

    async def publish_latest(self, subject: str, data: bytes) -> None:
        """Publishes without a condition, to a subject that keeps its last message only."""
        ...

    async def at(self, stream: str, sequence: Sequence) -> Recorded | None:
        """Returns the event with this sequence, from the leader; None if it was purged or never existed."""
        ...

    async def scan(self, stream: str, after: Sequence, most: int) -> list[Recorded]:
        """Returns the next events of a stream on any subject: at most `most`, fewer if a replica lags."""
        ...

    async def read_many(self, names: Iterable[str]) -> dict[str, list[Recorded]]:
        """Reads many subjects of one stream from the beginning, in one scan of it."""
        ...

    async def latest(self, wildcard: str) -> list[Recorded]:
        """Returns the last event of each matching subject."""
        ...

    async def first_since(self, stream: str, time: datetime) -> Sequence | None:
        """Returns the first sequence stored at or after a time of the broker's clock; None if there is none."""
        ...

    async def position(self, stream: str) -> Position:
        """Returns the first and last sequence of a stream, from its leader."""
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
        """Yields requests of a durable consumer until it is closed.

        Before each pull, `free` waits for room and returns it.
        """
        ...

    async def ack_floor(self, durable: str) -> Sequence:
        """Returns the ack floor of a durable consumer: every request up to it is acknowledged."""
        ...

    async def queue(self, durable: str) -> Queue:
        """Returns the state of a durable consumer, from its leader."""
        ...

    async def ask(self, subject: str, question: str, timeout_seconds: float) -> str | None:
        """Returns the reply of the process that listens on the subject; None if none does."""
        ...

    async def listen(self, subject: str, answer: Callable[[str], str]) -> None:
        """Replies to questions on a subject until the connection is closed."""
        ...
