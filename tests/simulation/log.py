"""`shared.log.protocol.Log` of one process, over the simulated broker and network."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence
from shared.log.protocol import Position, Subscriber
from shared.log.queue import Queue
from shared.log.recorded import Recorded
from shared.settings import Settings
from tests.simulation.broker import Broker
from tests.simulation.consumers import Pull, PullConsumer, PushConsumer
from tests.simulation.loop import Process
from tests.simulation.network import Network

T = TypeVar("T")
_RECONNECT_WAIT_SECONDS = 0.2


class SimDelivery:
    """A simulated `Delivery`."""

    def __init__(self, log: "SimLog", queue: PullConsumer, stored: Recorded, delivered: int) -> None:
        self.recorded = stored
        self.delivered = delivered
        self._log = log
        self._queue = queue
        self._sequence = stored.sequence

    def __hash__(self) -> int:
        return self._sequence

    async def ack(self) -> None:
        try:
            await self._log.call("ack", lambda: self._queue.ack(self._sequence, self._log.process))
        except LogUnavailable:
            return

    async def nak(self, delay_seconds: float = 0.0) -> None:
        self._log.tell(lambda: self._queue.nak(self._sequence, delay_seconds))

    async def in_progress(self) -> None:
        self._log.tell(lambda: self._queue.in_progress(self._sequence))


class SimLog:
    def __init__(self, broker: Broker, network: Network, process: Process, settings: Settings) -> None:
        self.process = process
        self._broker = broker
        self._network = network
        self._settings = settings
        self._loop = broker.loop
        self._timeout = settings.log_timeout_seconds
        self._last_arrival = 0.0
        self.asked_in_vain: Callable[[str], None] = lambda _question: None

    # --- calls ---------------------------------------------------------------------------------------------

    async def call(self, what: str, serve: Callable[[], T], within: float | None = None) -> T:
        """Sends one request and returns its reply. Raises `LogUnavailable` if the reply does not arrive in time."""
        if self._network.torn_down:
            raise LogUnavailable("the run is over")
        self._network.maybe_strike(self.process)
        if not self.process.alive:
            await self._loop.create_future()  # for ever
        timeout = within or self._timeout
        fate = self._network.fate(timeout)
        reply: asyncio.Future[T] = self._loop.create_future()
        ends = self._loop.time() + timeout
        if fate.there is not None:
            self._loop.call_at(
                self._arrival(fate.there, timeout),
                self._arrive,
                serve,
                reply,
                fate.back,
                context=self._broker.process.context,
            )
        if fate.there is None or fate.back is None or fate.there + fate.back > timeout or self._broker.away:
            self._loop.call_at(ends, _time_out, reply, what, context=self.process.context)
        return await reply

    def tell(self, serve: Callable[[], None]) -> None:
        """Sends a message without waiting for a reply."""
        if self._network.forgets():
            return
        fate = self._network.fate(self._timeout)
        if fate.there is not None:
            never: asyncio.Future[None] = self._loop.create_future()
            when = self._arrival(fate.there, self._timeout)
            self._loop.call_at(when, self._arrive, serve, never, None, context=self._broker.process.context)

    def _arrival(self, there: float, timeout: float) -> float:
        """Returns the arrival time: a connection keeps its order, but a broken older one may deliver later."""
        when = self._loop.time() + there
        if there < timeout / 2:
            when = self._last_arrival = max(when, self._last_arrival + 1e-6)
        return when

    def _arrive(self, serve: Callable[[], Any], reply: "asyncio.Future[Any]", back: float | None) -> None:
        if self._broker.away:
            self._loop.call_later(self._timeout / 4, _time_out, reply, "away", context=self.process.context)
            return
        result: Any = None
        error: Exception | None = None
        try:
            result = serve()
        except Exception as raised:  # noqa: BLE001 - it is the caller's
            error = raised
        self._network.maybe_strike(self.process)
        if back is not None:
            self._loop.call_later(back, _settle, reply, result, error, context=self._broker.process.context)

    # --- the log's own interface ----------------------------------------------------------------------------

    def on_reconnect(self, tell: Callable[[], None]) -> None:
        self._broker.reconnects.append((self.process, tell))

    async def publish(
        self, subject: str, data: bytes, *, expected: Sequence, scope: str, id_: str = ""
    ) -> Sequence:
        def serve() -> Sequence:
            return self._broker.publish(self.process, subject, data, expected, scope, id_)

        return await self.call("publish", serve)

    async def publish_latest(self, subject: str, data: bytes) -> None:
        await self.call("publish-latest", lambda: None)

    async def last(self, subject: str) -> Recorded | None:
        return await self.call("last", lambda: self._stream_of(subject).last(subject))

    async def next(self, subject: str, at: Sequence) -> Recorded | None:
        def serve() -> Recorded | None:
            return next((one for one in self._stream_of(subject).on(subject) if one.sequence >= at), None)

        return await self.call("next", serve)

    async def at(self, stream: str, sequence: Sequence) -> Recorded | None:
        return await self.call("at", lambda: self._broker.streams[stream].messages.get(sequence))

    async def read(self, subject: str, after: Sequence) -> list[Recorded]:
        def serve() -> list[Recorded]:
            return [one for one in self._stream_of(subject).on(subject) if one.sequence > after]

        return await self.call("read", serve)

    async def read_many(self, names: Iterable[str]) -> dict[str, list[Recorded]]:
        wanted = list(names)
        return await self.call("read-many", lambda: {one: self._stream_of(one).on(one) for one in wanted})

    async def scan(self, stream: str, after: Sequence, most: int) -> list[Recorded]:
        def serve() -> list[Recorded]:
            held = self._broker.streams[stream].messages.values()
            found = [one for one in held if one.sequence > after]
            return found[: min(most, 1 + len(found) // 2) if self._network.weather.slow else most]

        return await self.call("scan", serve)

    async def fetch(self, stream: str, sequences: Iterable[Sequence]) -> list[Recorded | None]:
        wanted = list(sequences)
        held = self._broker.streams[stream]
        return await self.call("fetch", lambda: [held.messages.get(one) for one in wanted])

    async def first_since(self, stream: str, time: datetime) -> Sequence | None:
        def serve() -> Sequence | None:
            held = self._broker.streams[stream].messages.values()
            return next((one.sequence for one in held if one.time >= time), None)

        return await self.call("first-since", serve)

    async def latest(self, wildcard: str) -> list[Recorded]:
        if subjects.stream_of(wildcard) == subjects.MODELS:
            return await self.call("latest", list)  # no provider announces its models here

        def serve() -> list[Recorded]:
            newest = {one.subject: one for one in self._stream_of(wildcard).on(wildcard)}
            return sorted(newest.values(), key=lambda one: one.sequence)

        return await self.call("latest", serve)

    async def queue(self, durable: str) -> Queue:
        queue = self._broker.queues[durable]
        return await self.call("queue", lambda: queue.state(self._broker.now()))

    @property
    def connected(self) -> bool:
        return not self._broker.away

    async def position(self, stream: str) -> Position:
        return await self.call("position", lambda: self._broker.position(stream))

    async def ack_floor(self, durable: str) -> Sequence:
        return await self.call("settled", lambda: self._broker.queues[durable].settled)

    async def purge(self, subject: str, before: Sequence | None = None) -> None:
        await self.call("purge", lambda: self._broker.purge(subject, before))

    def _stream_of(self, subject: str) -> Any:
        return self._broker.streams[subjects.stream_of(subject)]

    # --- consuming -------------------------------------------------------------------------------------------

    async def requests(
        self, durable: str, free: Callable[[], Awaitable[int]]
    ) -> AsyncGenerator[SimDelivery, None]:
        queue = self._broker.queues[durable]
        while True:
            room = await free()
            if self._broker.away:
                await asyncio.sleep(_RECONNECT_WAIT_SECONDS)
                continue
            fate = self._network.fate(self._timeout)
            reply: asyncio.Future[list[tuple[Recorded, int]]] = self._loop.create_future()
            pull = Pull(self.process, room, reply, fate.there is None or fate.back is None)
            self._loop.call_later(
                self._network.latency(), queue.pull, pull, context=self._broker.process.context
            )
            self._loop.call_later(self._timeout, _nothing_came, reply, context=self.process.context)
            for stored, delivered in await reply:
                yield SimDelivery(self, queue, stored, delivered)

    async def subscribe(
        self, stream: str, feed: Subscriber, *, start: Sequence | datetime, filters: tuple[str, ...] = ()
    ) -> Callable[[], Awaitable[None]]:
        push = PushConsumer(
            self._loop,
            self.process,
            feed,
            self._broker.streams[stream],
            start=start,
            filters=filters,
            latency=self._network.delivery,
            heartbeat_seconds=self._settings.follower_heartbeat_seconds,
        )

        def serve() -> int:
            self._broker.pushes[push] = None
            return push.begin(self._broker.process)

        async def end() -> None:
            push.closed = push.gone = True
            self._broker.pushes.pop(push, None)

        try:
            feed.begin(await self.call("push", serve))
        except BaseException:
            push.closed = True
            raise
        return end

    # --- questions -------------------------------------------------------------------------------------------

    async def ask(self, subject: str, question: str, timeout_seconds: float) -> str | None:
        """Asks a worker. A dead worker leads to an immediate error, a frozen one to a timeout."""
        listener = self._broker.listeners.get(subject)
        try:
            if listener is None or not listener[0].alive:
                reply = None
            else:
                reply = await self.call("ask", lambda: listener, timeout_seconds) and await self._hear(
                    listener, question, timeout_seconds
                )
        except LogUnavailable:
            self.asked_in_vain(question)
            raise
        if reply != "yes":
            self.asked_in_vain(question)
        return reply

    async def _hear(
        self, listener: tuple[Process, Callable[[str], str]], question: str, seconds: float
    ) -> str | None:
        process, answer = listener
        reply: asyncio.Future[str] = self._loop.create_future()
        self._loop.call_soon(lambda: _settle(reply, answer(question), None), context=process.context)
        self._loop.call_later(seconds, _time_out, reply, "ask", context=self.process.context)
        return await reply

    async def listen(self, subject: str, answer: Callable[[str], str]) -> None:
        self._broker.listeners[subject] = (self.process, answer)


def _settle(reply: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if reply.done():
        return
    if error is None:
        reply.set_result(result)
    else:
        reply.set_exception(error)
        reply.exception()  # whoever waited may be dead


def _time_out(reply: "asyncio.Future[Any]", what: str) -> None:
    _settle(reply, None, LogUnavailable(f"no reply to {what}"))


def _nothing_came(reply: "asyncio.Future[list[tuple[Recorded, int]]]") -> None:
    if not reply.done():
        reply.set_result([])
