"""The rules of JetStream without a network: streams, conditions, duplicates, purges, and the loss of a tail.

Every operation happens at one moment of virtual time, at the leader. `log.py` adds the network.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from shared.domain import subjects
from shared.domain.errors import SequenceConflict
from shared.domain.subjects import Sequence
from shared.log.protocol import Position
from shared.log.recorded import Recorded
from tests.simulation.consumers import PullConsumer, PushConsumer
from tests.simulation.loop import Process, SimLoop
from tests.simulation.storage import Stream

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Broker:
    """The server. While `away` no process reaches it. It calls `stored` for each stored message with its sender."""

    def __init__(self, loop: SimLoop, ack_wait_seconds: float) -> None:
        self.loop = loop
        self.process = Process("broker")
        self.away = False
        self.streams = {name: Stream(name) for name in (subjects.CHATS, subjects.TOKENS)}
        chats = self.streams[subjects.CHATS]
        self.queues = {
            subjects.GENERATORS: PullConsumer(loop, self.process, chats, subjects.REQUESTS, ack_wait_seconds),
            subjects.TITLES: PullConsumer(loop, self.process, chats, subjects.ENDS, ack_wait_seconds),
        }
        self.pushes: dict[PushConsumer, None] = {}
        self.listeners: dict[str, tuple[Process, Callable[[str], str]]] = {}
        self.reconnects: list[tuple[Process, Callable[[], None]]] = []
        self.stored: Callable[[Recorded, Process], None] = lambda _stored, _by: None
        self.purged: Callable[[str], None] = lambda _subject: None

    def now(self) -> datetime:
        return EPOCH + timedelta(microseconds=round(self.loop.time() * 1e6))

    def publish(
        self, by: Process, subject: str, data: bytes, expected: Sequence, scope: str, id_: str
    ) -> Sequence:
        """Publishes like JetStream: checks the expected sequence first, also for a duplicate, then the message id."""
        stream = self.streams[subjects.stream_of(subject)]
        newest = stream.last(scope)
        if (newest.sequence if newest else 0) != expected or (id_ and id_ in stream.ids):
            raise SequenceConflict(subject, expected)
        stored = stream.append(subject, data, self.now(), id_)
        self.stored(stored, by)
        for push in list(self.pushes):
            push.offer(stored)
        for queue in self.queues.values():
            if queue.stream is stream:
                queue.pump()
        return stored.sequence

    def purge(self, subject: str, before: Sequence | None) -> None:
        stream = self.streams[subjects.stream_of(subject)]
        gone = [one for one in stream.on(subject) if before is None or one.sequence < before]
        stream.remove(gone)
        self.purged(subject)

    def position(self, stream: str) -> Position:
        held = self.streams[stream]
        first = next(iter(held.messages), Sequence(held.last_sequence + 1))
        return Position(first, held.last_sequence, "the only one")

    # --- what befalls it ----------------------------------------------------------------------------------

    def go_away(self) -> None:
        self.away = True

    def come_back(self, *, restarted: bool) -> None:
        """Reconnects all processes. A restart deletes the consumers that lived in memory."""
        self.away = False
        if restarted:
            for push in list(self.pushes):
                push.gone = True
            self.pushes.clear()
        for process, tell in self.reconnects:
            self.loop.call_soon(tell, context=process.context)
        for queue in self.queues.values():
            queue.pump()

    def lose_tail(self, seconds: float) -> None:
        """Simulates a power failure: the newest messages are lost although they were acknowledged."""
        since = self.now() - timedelta(seconds=seconds)
        for stream in self.streams.values():
            stream.lose_since(since)
        for queue in self.queues.values():
            queue.forget_after(self.streams[subjects.CHATS].last_sequence)
