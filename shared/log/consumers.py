"""Durable consumers, which workers share as a queue, and ephemeral ones, with which a process follows a stream."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import nats.errors
from nats.aio.msg import Msg
from nats.js import api

from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence
from shared.log.connection import RECONNECT_WAIT_SECONDS, OverConnection, suppress_unavailable
from shared.log.protocol import Subscriber
from shared.log.pull import Pull
from shared.log.recorded import record
from shared.logging import logger

log = logger(__name__)

_BATCH = 500
_EPOCH = datetime.fromtimestamp(0, UTC)


class NatsDelivery:
    """A delivered request. Call either `ack` or `nak` once; both are best effort."""

    def __init__(self, message: Msg, ack_timeout_seconds: float) -> None:
        self._message = message
        self._ack_timeout_seconds = ack_timeout_seconds
        meta = message.metadata
        self.recorded = record(message.subject, Sequence(meta.sequence.stream), meta.timestamp, message.data)
        self.delivered: int = meta.num_delivered

    async def ack(self) -> None:
        """Waits for the broker to have it. Lost on the way, the request comes again, and its end is found then."""
        with contextlib.suppress(nats.errors.Error, asyncio.TimeoutError):
            await self._message.ack_sync(timeout=self._ack_timeout_seconds)

    async def nak(self, delay_seconds: float = 0.0) -> None:
        with contextlib.suppress(nats.errors.Error):
            await self._message.nak(delay=delay_seconds or None)

    async def in_progress(self) -> None:
        with contextlib.suppress(nats.errors.Error):
            await self._message.in_progress()


class Consumers(OverConnection):
    """Delivers events: requests to one worker each, and a stream's events to every process that subscribes."""

    async def requests(
        self, durable: str, free: Callable[[], Awaitable[int]]
    ) -> AsyncGenerator[NatsDelivery, None]:
        """Yields requests of a durable consumer until it is closed. Before each pull, `free` waits and returns the free room.

        When it is closed (`aclosing`), it naks the messages that it pulled and did not yield.
        """
        pull = Pull(self._connection.client, subjects.CHATS, durable, self._connection.timeout_seconds)
        await self._connection.call(pull.open())
        try:
            while True:
                room = await free()
                try:
                    message = await pull.next(min(room, _BATCH))
                except LogUnavailable as error:
                    log.warning("requests-unavailable", durable=durable, reason=str(error))
                    await asyncio.sleep(RECONNECT_WAIT_SECONDS)
                    continue
                if message is not None:
                    yield NatsDelivery(message, self._connection.timeout_seconds)
        finally:
            for message in await pull.close():
                await NatsDelivery(message, self._connection.timeout_seconds).nak()

    async def subscribe(
        self,
        stream: str,
        subscriber: Subscriber,
        *,
        start: Sequence | datetime,
        filters: tuple[str, ...] = (),
    ) -> Callable[[], Awaitable[None]]:
        """Creates an ephemeral consumer of this process. Returns the call that ends it."""
        inbox = self._connection.bulk.new_inbox()

        async def take(message: Msg) -> None:
            headers = message.headers
            if headers and "Status" in headers:
                await self._control(message, headers, subscriber)
                return
            fields = message.reply.split(".")
            sequence, consumer_sequence, nanoseconds = fields[-4:-1] if len(fields) == 9 else fields[7:10]  # noqa: PLR2004 - with and without a domain
            time = _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)
            subscriber.receive(
                record(message.subject, Sequence(int(sequence)), time, message.data), int(consumer_sequence)
            )

        subscription = await self._connection.bulk.subscribe(inbox, cb=take, pending_bytes_limit=-1)
        try:
            info = await self._connection.call(
                self._connection.manager(self._connection.bulk).add_consumer(
                    stream, self._ephemeral(inbox, start, filters)
                )
            )
        except BaseException:
            await suppress_unavailable(subscription.unsubscribe())
            raise
        subscriber.begin(
            int(info.num_pending or 0) + int(info.delivered.consumer_seq if info.delivered else 0)
        )

        async def end() -> None:
            await suppress_unavailable(subscription.unsubscribe())
            await suppress_unavailable(
                self._connection.manager(self._connection.bulk).delete_consumer(stream, info.name)
            )

        return end

    def _ephemeral(
        self, inbox: str, start: Sequence | datetime, filters: tuple[str, ...]
    ) -> api.ConsumerConfig:
        return api.ConsumerConfig(
            deliver_subject=inbox,
            deliver_policy=(
                api.DeliverPolicy.BY_START_TIME
                if isinstance(start, datetime)
                else api.DeliverPolicy.BY_START_SEQUENCE
            ),
            opt_start_time=start if isinstance(start, datetime) else None,
            opt_start_seq=None if isinstance(start, datetime) else max(1, int(start)),
            filter_subjects=list(filters) or None,
            ack_policy=api.AckPolicy.NONE,
            max_deliver=1,
            flow_control=True,
            idle_heartbeat=self._connection.settings.follower_heartbeat_seconds,
            inactive_threshold=30,
            mem_storage=True,
            num_replicas=1,
        )

    async def _control(self, message: Msg, headers: dict[str, str], subscriber: Subscriber) -> None:
        if message.reply:  # a flow control request: answered only now, when all before it has been handled
            await self._connection.bulk.publish(message.reply)
            return
        if stalled := headers.get("Nats-Consumer-Stalled"):
            await self._connection.bulk.publish(stalled)
        subscriber.heartbeat(int(headers.get("Nats-Last-Consumer", 0)))
