"""The consumers of JetStream: the work queue with redeliveries, and the push consumers of followers."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime

from msgspec import Struct

from shared.domain.subjects import Sequence
from shared.log.protocol import Subscriber
from shared.log.queue import Queue
from shared.log.recorded import Recorded
from tests.simulation.loop import Process, SimLoop
from tests.simulation.storage import Stream, matches


class Pending(Struct):
    """A request that was delivered and is not acknowledged. It is redelivered at `due`."""

    delivered: int
    due: float


class Pull(Struct):
    process: Process
    room: int
    reply: "asyncio.Future[list[tuple[Recorded, int]]]"
    lost: bool


class PullConsumer:
    """A durable consumer with explicit acknowledgements."""

    def __init__(
        self, loop: SimLoop, process: Process, stream: Stream, filters: tuple[str, ...], ack_wait: float
    ) -> None:
        self.stream = stream
        self.filters = filters
        self.pending: dict[Sequence, Pending] = {}
        self.counts: dict[Sequence, int] = {}
        self.acked: Callable[[Sequence, Process], None] = lambda _sequence, _by: None
        self.delivered: Callable[[Recorded, Process], None] = lambda _stored, _to: None
        self._loop = loop
        self._process = process
        self._ack_wait = ack_wait
        self._next = Sequence(1)
        self._again: list[Sequence] = []
        self._waiting: deque[Pull] = deque()

    @property
    def idle(self) -> bool:
        return not self.pending and not self._again and self._candidate() is None

    @property
    def settled(self) -> Sequence:
        """The ack floor: every request up to it is acknowledged."""
        return Sequence(min(self.pending, default=self._next) - 1)

    def state(self, now: datetime) -> Queue:
        return Queue(
            num_pending=sum(
                sequence >= self._next and any(matches(pattern, one.subject) for pattern in self.filters)
                for sequence, one in self.stream.messages.items()
            ),
            num_ack_pending=len(self.pending),
            num_waiting=len(self._waiting),
            delivered=Sequence(self._next - 1),
            time=now,
        )

    def pull(self, pull: Pull) -> None:
        self._waiting.append(pull)
        self.pump()

    def pump(self) -> None:
        """Delivers messages to waiting pulls. Skips a pull whose sender died or timed out."""
        while self._waiting and (self._again or self._candidate() is not None):
            pull = self._waiting.popleft()
            if pull.reply.done() or not pull.process.alive:
                continue
            batch: list[tuple[Recorded, int]] = []
            while len(batch) < pull.room and (stored := self._take()):
                batch.append(self._deliver(stored, pull.process))
            if not batch:
                self._waiting.appendleft(pull)
                return
            if not pull.lost:
                pull.reply.set_result(batch)

    def _candidate(self) -> Recorded | None:
        while self._next <= self.stream.last_sequence:
            stored = self.stream.messages.get(self._next)
            if stored and any(matches(pattern, stored.subject) for pattern in self.filters):
                return stored
            self._next = Sequence(self._next + 1)
        return None

    def _take(self) -> Recorded | None:
        while self._again:
            sequence = self._again.pop(0)
            if stored := self.stream.messages.get(sequence):
                return stored
            self.pending.pop(sequence, None)  # purged meanwhile
        stored = self._candidate()
        if stored:
            self._next = Sequence(self._next + 1)
        return stored

    def _deliver(self, stored: Recorded, to: Process) -> tuple[Recorded, int]:
        count = self.counts[stored.sequence] = self.counts.get(stored.sequence, 0) + 1
        self.pending[stored.sequence] = Pending(count, self._loop.time() + self._ack_wait)
        self._watch(stored.sequence)
        self.delivered(stored, to)
        return stored, count

    def _watch(self, sequence: Sequence) -> None:
        pending = self.pending[sequence]
        self._loop.call_at(pending.due, self._expired, sequence, pending, context=self._process.context)

    def _expired(self, sequence: Sequence, pending: Pending) -> None:
        if self.pending.get(sequence) is not pending or sequence in self._again:
            return
        if pending.due > self._loop.time():
            self._watch(sequence)
            return
        self._redeliver(sequence)

    def _redeliver(self, sequence: Sequence) -> None:
        if sequence in self.pending and sequence not in self._again:
            self._again.append(sequence)
            self.pump()

    # --- what workers say ------------------------------------------------------------------------------

    def ack(self, sequence: Sequence, by: Process) -> None:
        if self.pending.pop(sequence, None) is None:
            return
        if sequence in self._again:
            self._again.remove(sequence)
        self.acked(sequence, by)

    def nak(self, sequence: Sequence, delay: float) -> None:
        pending = self.pending.get(sequence)
        if pending is None:
            return
        if not delay:
            self._redeliver(sequence)
            return
        self.pending[sequence] = Pending(pending.delivered, self._loop.time() + delay)
        self._watch(sequence)

    def in_progress(self, sequence: Sequence) -> None:
        if pending := self.pending.get(sequence):
            pending.due = self._loop.time() + self._ack_wait

    def forget_after(self, last: Sequence) -> None:
        """Reverts deliveries after a sequence, because the stream lost its tail."""
        self.pending = {at: one for at, one in self.pending.items() if at <= last}
        self.counts = {at: one for at, one in self.counts.items() if at <= last}
        self._again = [at for at in self._again if at <= last]
        self._next = Sequence(min(self._next, last + 1))


class PushConsumer:
    """The push consumer of one follower. It delivers in order; dropped messages leave a gap in the numbers."""

    def __init__(
        self,
        loop: SimLoop,
        process: Process,
        feed: Subscriber,
        stream: Stream,
        *,
        start: Sequence | datetime,
        filters: tuple[str, ...],
        latency: Callable[[], float | None],
        heartbeat_seconds: float,
    ) -> None:
        self.process = process
        self.gone = False
        self.closed = False
        self._loop = loop
        self._feed = feed
        self._stream = stream
        self._start = start
        self._filters = filters
        self._latency = latency
        self._heartbeat_seconds = heartbeat_seconds
        self._number = 0
        self._last_when = 0.0
        self._quiet = True

    def begin(self, broker_process: Process) -> int:
        """Delivers the stored messages and returns their number."""
        for stored in list(self._stream.messages.values()):
            self.offer(stored)
        self._broker_process = broker_process
        self._beat_later()
        return self._number

    def offer(self, stored: Recorded) -> None:
        if self.gone or stored is not self._stream.messages.get(stored.sequence):
            return
        early = (
            stored.time < self._start if isinstance(self._start, datetime) else stored.sequence < self._start
        )
        if early or (self._filters and not any(matches(one, stored.subject) for one in self._filters)):
            return
        self._number += 1
        self._quiet = False
        self._send(self._feed.receive, stored, self._number)

    def _beat_later(self) -> None:
        self._loop.call_later(self._heartbeat_seconds, self._beat, context=self._broker_process.context)

    def _beat(self) -> None:
        if self.gone or not self.process.alive:
            return
        if self._quiet:
            self._send(self._feed.heartbeat, self._number)
        self._quiet = True
        self._beat_later()

    def _send(self, tell: Callable[..., None], *arguments: object) -> None:
        latency = self._latency()
        if latency is None:
            return  # lost on the way
        self._last_when = max(self._last_when + 1e-6, self._loop.time() + latency)
        self._loop.call_at(self._last_when, self._arrive, tell, arguments, context=self.process.context)

    def _arrive(self, tell: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if not self.closed:
            tell(*arguments)
