"""JetStream, as the rest of Unspool sees it. The only module that knows NATS.

It says what was stored, and nothing of what it means: bytes in, bytes out. What an append, a refused
append and a lost tail mean is decided in `shared/log/append.py`; what a follower does with gaps, in
`shared/log/follower.py`. Both stand on the `Log` protocol below, so that a simulation can stand in here.

One connection writes and asks, another does bulk reads: on one connection they hold each other up
(`jetstream.md`, "Traps"). Nothing is buffered while the broker is away: a call fails, and its caller
decides.
"""

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
import nats.errors
import nats.js.errors
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api
from nats.js.manager import JetStreamManager

from shared import metrics
from shared.domain import subjects
from shared.domain.errors import ConfigurationError, LogFull, LogUnavailable, SequenceConflict
from shared.domain.subjects import Sequence
from shared.log import queue
from shared.log.protocol import Position, PushFeed
from shared.log.recorded import Recorded, record
from shared.log.streams import consumers, streams
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

_WRONG_LAST_SEQUENCE = {10071, 10164}
_NO_ROOM = {10002, 10023, 10028, 10047, 10054, 10077}
_NOT_FOUND = {10014, 10037, 10059}
_BATCH = 500
_EPOCH = datetime.fromtimestamp(0, UTC)
_RECONNECT_WAIT_SECONDS = 0.2


class _ApiError(Struct):
    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(Struct):
    seq: int = 0
    duplicate: bool = False
    error: _ApiError | None = None


class _GotMessage(Struct):
    subject: str
    seq: int
    time: datetime
    data: str = ""


class _GetReply(Struct):
    message: _GotMessage | None = None
    error: _ApiError | None = None


_pub_ack = msgspec.json.Decoder(_PubAck)
_get_reply = msgspec.json.Decoder(_GetReply)


class Delivery:
    """A request as the queue gave it. Exactly one of `ack` and `give_back` ends it; both are best effort."""

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

    async def give_back(self, delay_seconds: float = 0.0) -> None:
        with contextlib.suppress(nats.errors.Error):
            await self._message.nak(delay=delay_seconds or None)

    async def in_progress(self) -> None:
        with contextlib.suppress(nats.errors.Error):
            await self._message.in_progress()


class _Gathered:
    """A feed that ends: complete when all has come that was there when it began."""

    def __init__(self, into: dict[str, list[Recorded]]) -> None:
        self._into = into
        self._expected: int | None = None
        self._count = 0
        self.complete = asyncio.Event()

    def begun(self, pending: int) -> None:
        self._expected = pending
        self._check()

    def stored(self, stored: Recorded, consumer_sequence: int) -> None:
        self._into[stored.subject].append(stored)
        self._count = consumer_sequence
        self._check()

    def heartbeat(self, last_consumer_sequence: int) -> None:
        pass

    def _check(self) -> None:
        if self._expected is not None and self._count >= self._expected:
            self.complete.set()


class EventLog:
    """The log over NATS. Implements `Log`."""

    def __init__(self, client: Client, bulk: Client, settings: Settings) -> None:
        self._client = client
        self._bulk = bulk
        self._timeout = settings.log_timeout_seconds
        self._settings = settings
        self._reconnects: list[Callable[[], None]] = []

    @classmethod
    async def connect(cls, settings: Settings, name: str) -> Self:
        """Raises `LogUnavailable` when no broker answers; once connected, it reconnects for ever."""
        connections: list[Client] = []
        try:
            connections.append(await _connect(settings, name))
            connections.append(await _connect(settings, f"{name}-bulk"))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            for connection in connections:
                await connection.close()
            reason = str(error) or "no answer"
            raise LogUnavailable(f"no NATS at {_without_secrets(settings.nats_url)}: {reason}") from error
        self = cls(connections[0], connections[1], settings)

        async def reconnected() -> None:
            log.info("log-reconnected")
            for tell in self._reconnects:
                tell()

        connections[1]._reconnected_cb = reconnected  # noqa: SLF001 - nats-py takes it in `connect` only, before `self` is
        return self

    async def close(self) -> None:
        for connection in (self._client, self._bulk):
            with contextlib.suppress(nats.errors.Error, OSError, TimeoutError):
                await connection.close()

    @property
    def connected(self) -> bool:
        return bool(self._client.is_connected and self._bulk.is_connected)

    def on_reconnect(self, tell: Callable[[], None]) -> None:
        self._reconnects.append(tell)

    # --- streams ---------------------------------------------------------------------------------

    async def ensure(self) -> None:
        """Makes the streams and the durable consumers, or brings them to these settings. Safe to call side by side."""
        for stream in streams(self._settings):
            await self._upsert(api.StreamConfig(**stream))
        for consumer in consumers(self._settings):
            await self._call(self._manager().add_consumer(subjects.CHATS, api.ConsumerConfig(**consumer)))

    async def position(self, stream: str) -> Position:
        info = await self._call(self._manager().stream_info(stream))
        return Position(
            Sequence(info.state.first_seq), Sequence(info.state.last_seq), str(info.created or "")
        )

    async def settled_up_to(self, durable: str) -> Sequence:
        """Every request at or below it has been acknowledged."""
        position = await self.position(subjects.CHATS)
        info = await self._call(self._manager().consumer_info(subjects.CHATS, durable))
        if not info.num_ack_pending and not info.num_pending:
            return position.last  # read before: what has come since is not meant
        return Sequence(info.ack_floor.stream_seq if info.ack_floor else 0)

    async def queue(self, durable: str) -> queue.Queue:
        """How a durable consumer stands, by its leader."""
        name = f"$JS.API.CONSUMER.INFO.{subjects.CHATS}.{durable}"
        return queue.decode(await self._request(name, b"", None))

    async def purge(self, subject: str, before: Sequence | None = None) -> None:
        """Removes what is on a subject or wildcard, up to but not including `before`."""
        stream = subjects.stream_of(subject)
        await self._call(self._manager().purge_stream(stream, seq=before, subject=subject))

    # --- appending ---------------------------------------------------------------------------------

    @metrics.append
    async def publish(
        self, subject: str, data: bytes, *, expected: Sequence, scope: str, id_: str = ""
    ) -> Sequence:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        if scope != subject:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = scope
        if id_:
            headers["Nats-Msg-Id"] = id_
        ack = _pub_ack.decode(await self._request(subject, data, headers))
        if (
            ack.duplicate
        ):  # nothing was stored: an event of this id was there. Whether it is this one, the caller sees.
            raise SequenceConflict(subject, expected)
        if ack.error is None:
            return Sequence(ack.seq)
        raise _refusal(ack.error, subject, expected)

    async def publish_latest(self, subject: str, data: bytes) -> None:
        """Without a condition: for subjects that keep their last message only."""
        ack = _pub_ack.decode(await self._request(subject, data, None))
        if ack.error is not None:
            raise _refusal(ack.error, subject, 0)

    # --- reading -----------------------------------------------------------------------------------

    async def last(self, subject: str) -> Recorded | None:
        return await self._get(subjects.stream_of(subject), {"last_by_subj": subject})

    async def next(self, subject: str, at: Sequence) -> Recorded | None:
        return await self._get(subjects.stream_of(subject), {"seq": int(at), "next_by_subj": subject})

    async def at(self, stream: str, sequence: Sequence) -> Recorded | None:
        """From the leader; None where it was purged, or never was."""
        return await self._get(stream, {"seq": int(sequence)})

    async def read(self, subject: str, after: Sequence) -> list[Recorded]:
        stream, found, at = subjects.stream_of(subject), list[Recorded](), int(after) + 1
        while True:
            query = {"seq": at, "next_by_subj": subject, "batch": _BATCH}
            batch, pending = await self._direct(stream, query)
            found += batch
            if not batch or not pending:
                break
            at = batch[-1].sequence + 1
        # A direct get may be served by a replica that is behind: what is missing is taken from the leader.
        newest = await self.last(subject)
        while newest and newest.sequence > max(after, found[-1].sequence if found else 0):
            step = await self.next(subject, Sequence((found[-1].sequence if found else after) + 1))
            if step is None:
                break
            found.append(step)
        return found

    async def scan(self, stream: str, after: Sequence, most: int) -> list[Recorded]:
        """The next messages of a stream, whatever their subject: at most so many, fewer where a replica is behind."""
        found, _ = await self._direct(stream, {"seq": after + 1, "next_by_subj": ">", "batch": most})
        return found

    async def fetch(self, stream: str, sequences: Iterable[Sequence]) -> list[Recorded | None]:
        async def one(sequence: Sequence) -> Recorded | None:
            found, _ = await self._direct(stream, {"seq": int(sequence)})
            # A replica that is behind says "none" for what the leader has.
            return found[0] if found else await self.at(stream, sequence)

        # Not a task group: its error would be a group too, and callers wait for `LogUnavailable`.
        return list(await asyncio.gather(*(one(sequence) for sequence in sequences)))

    async def first_since(self, stream: str, time: datetime) -> Sequence | None:
        """The first message that was stored at or after a time of the broker's clock."""
        found, _ = await self._direct(
            stream, {"batch": 1, "start_time": time.isoformat(), "next_by_subj": ">"}
        )
        return found[0].sequence if found else None

    async def read_many(self, names: Iterable[str]) -> dict[str, list[Recorded]]:
        """As `read` from the beginning, for many subjects of one stream in one scan of it."""
        wanted: dict[str, list[Recorded]] = {name: [] for name in names}
        gathered = _Gathered(wanted)
        stream = subjects.stream_of(next(iter(wanted)))
        end = await self.push(stream, gathered, start=Sequence(1), filters=tuple(wanted))
        try:
            async with asyncio.timeout(self._settings.cold_read_seconds):
                await gathered.complete.wait()
        except TimeoutError as error:
            raise LogUnavailable(f"{stream}: a read did not come to its end") from error
        finally:
            await end()
        for name, found in wanted.items():
            # The consumer may stand on a replica that is behind: the rest comes from the leader.
            found.extend(await self.read(name, found[-1].sequence if found else Sequence(0)))
        return wanted

    async def latest(self, wildcard: str) -> list[Recorded]:
        """The last message of each subject that matches."""
        stream = subjects.stream_of(wildcard)
        found, _ = await self._direct(stream, {"multi_last": [wildcard], "batch": _BATCH})
        return found

    async def _get(self, stream: str, query: dict[str, Any]) -> Recorded | None:
        data = await self._request(f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(query), None)
        reply = _get_reply.decode(data)
        if reply.message is not None:
            got = reply.message
            return record(got.subject, Sequence(got.seq), got.time, base64.b64decode(got.data))
        if reply.error is not None and reply.error.err_code not in _NOT_FOUND:
            raise LogUnavailable(f"{stream}: {reply.error.description}")
        return None

    async def _direct(self, stream: str, query: dict[str, Any]) -> tuple[list[Recorded], int]:
        """One Direct Get: its messages, and how many more there are."""
        found: list[Recorded] = []
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        single = "batch" not in query

        async def take(message: Msg) -> None:
            headers = message.headers or {}
            if "Nats-Subject" in headers:
                found.append(_from_headers(message, headers))
                if not single:
                    return
            if done.done():
                return
            status = headers.get("Status", "")
            if status in {"", "204", "404"}:
                done.set_result(int(headers.get("Nats-Num-Pending", 0)))
            else:
                done.set_exception(LogUnavailable(f"{stream}: {status} {headers.get('Description', '')}"))

        inbox = self._bulk.new_inbox()
        try:
            subscription = await self._bulk.subscribe(inbox, cb=take)
            try:
                await self._bulk.publish(
                    f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), reply=inbox
                )
                pending = await asyncio.wait_for(done, self._timeout)
            finally:
                await subscription.unsubscribe()
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise LogUnavailable(f"{stream}: no answer to a read: {error!r}") from error
        return found, pending

    # --- consuming ---------------------------------------------------------------------------------

    async def requests(
        self, durable: str, free: Callable[[], Awaitable[int]]
    ) -> AsyncGenerator[Delivery, None]:
        """Requests from a durable consumer, for ever. Before each pull, `free` waits until there is room, and says how much.

        Closed (`aclosing`), it gives back at once what was pulled and not yet taken.
        """
        messages: list[Msg] = []
        context = self._client.jetstream(timeout=self._timeout)
        subscription = await self._call(context.pull_subscribe_bind(durable, subjects.CHATS))
        try:
            while True:
                room = await free()
                try:
                    messages = await subscription.fetch(min(room, _BATCH), timeout=self._timeout)
                except (TimeoutError, nats.errors.TimeoutError):
                    continue
                except (nats.errors.Error, OSError) as error:
                    log.warning("requests-unavailable", durable=durable, reason=repr(error))
                    await asyncio.sleep(_RECONNECT_WAIT_SECONDS)
                    continue
                while messages:
                    yield Delivery(messages.pop(0), self._timeout)
        finally:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
            for message in messages:
                await Delivery(message, self._timeout).give_back()

    async def push(
        self,
        stream: str,
        feed: PushFeed,
        *,
        start: Sequence | datetime,
        filters: tuple[str, ...] = (),
    ) -> Callable[[], Awaitable[None]]:
        """A consumer of this process alone, in the broker's memory; what is returned ends it."""
        inbox = self._bulk.new_inbox()

        async def take(message: Msg) -> None:
            headers = message.headers
            if headers and "Status" in headers:
                await self._control(message, headers, feed)
                return
            fields = message.reply.split(".")
            sequence, consumer_sequence, nanoseconds = fields[-4:-1] if len(fields) == 9 else fields[7:10]  # noqa: PLR2004 - with and without a domain
            time = _EPOCH + timedelta(microseconds=int(nanoseconds) // 1000)
            feed.stored(
                record(message.subject, Sequence(int(sequence)), time, message.data), int(consumer_sequence)
            )

        subscription = await self._bulk.subscribe(inbox, cb=take, pending_bytes_limit=-1)
        try:
            info = await self._call(
                self._manager(self._bulk).add_consumer(stream, self._ephemeral(inbox, start, filters))
            )
        except BaseException:
            await _quietly(subscription.unsubscribe())
            raise
        feed.begun(int(info.num_pending or 0) + int(info.delivered.consumer_seq if info.delivered else 0))

        async def end() -> None:
            await _quietly(subscription.unsubscribe())
            await _quietly(self._manager(self._bulk).delete_consumer(stream, info.name))

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
            idle_heartbeat=self._settings.follower_heartbeat_seconds,
            inactive_threshold=30,
            mem_storage=True,
            num_replicas=1,
        )

    async def _control(self, message: Msg, headers: dict[str, str], feed: PushFeed) -> None:
        if message.reply:  # a flow control request: answered only now, when all before it has been handled
            await self._bulk.publish(message.reply)
            return
        if stalled := headers.get("Nats-Consumer-Stalled"):
            await self._bulk.publish(stalled)
        feed.heartbeat(int(headers.get("Nats-Last-Consumer", 0)))

    # --- questions -----------------------------------------------------------------------------------

    async def ask(self, subject: str, question: str, timeout_seconds: float) -> str | None:
        """The answer of whoever listens there; None when nobody does. Raises `LogUnavailable` when it is not known."""
        try:
            reply = await self._client.request(subject, question.encode(), timeout=timeout_seconds)
        except nats.errors.NoRespondersError:
            return None
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise LogUnavailable(f"{subject}: {error!r}") from error
        return str(reply.data.decode())

    async def listen(self, subject: str, answer: Callable[[str], str]) -> None:
        async def respond(message: Msg) -> None:
            with contextlib.suppress(nats.errors.Error):
                await message.respond(answer(message.data.decode()).encode())

        await self._client.subscribe(subject, cb=respond)

    # --- inside --------------------------------------------------------------------------------------

    def _manager(self, client: Client | None = None) -> JetStreamManager:
        return JetStreamManager(client or self._client, timeout=self._timeout)

    async def _request(self, subject: str, data: bytes, headers: dict[str, str] | None) -> bytes:
        try:
            reply = await self._client.request(subject, data, timeout=self._timeout, headers=headers)
        except nats.errors.MaxPayloadError as error:
            raise LogFull(f"{subject}: {len(data)} bytes are more than the broker takes") from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise LogUnavailable(f"{subject}: {error!r}") from error
        return bytes(reply.data)

    async def _call(self, call: Awaitable[Any]) -> Any:  # noqa: ANN401 - nats-py's own types, as they come
        try:
            return await call
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise LogUnavailable(f"the log did not do as asked: {_reason(error)}") from error

    async def _upsert(self, config: api.StreamConfig) -> None:
        try:
            await self._manager().add_stream(config)
        except nats.js.errors.BadRequestError:  # it is there with other settings
            await self._call(self._manager().update_stream(config))
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise LogUnavailable(f"cannot make stream {config.name}: {_reason(error)}") from error


async def _connect(settings: Settings, name: str) -> Client:
    """The first contact is bounded in time; once it is made, the client reconnects for ever."""

    async def failed(error: Exception) -> None:
        log.debug("nats", reason=repr(error))

    async def disconnected() -> None:
        if not client.is_reconnecting:  # closed by ourselves, or never connected
            return
        log.warning("log-disconnected", connection=name)

    client = Client()
    try:
        async with asyncio.timeout(settings.log_connect_seconds):
            await client.connect(
                settings.nats_url.split(","),
                name=name,
                error_cb=failed,
                disconnected_cb=disconnected,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type] # it is only slept for
                pending_size=0,
                ping_interval=5,
                max_outstanding_pings=2,
                tls=_trust(settings),
            )
    except BaseException:
        await _quietly(client.close())
        raise
    return client


def _trust(settings: Settings) -> ssl.SSLContext | None:
    if not settings.nats_ca:
        return None
    try:
        return ssl.create_default_context(cafile=settings.nats_ca)
    except OSError as error:  # an SSLError is one
        raise ConfigurationError(f"settings: nats_ca: {settings.nats_ca}: {error.strerror}") from error


def _without_secrets(urls: str) -> str:
    parts = [urlsplit(url) for url in urls.split(",")]
    return ", ".join(f"{part.scheme}://{part.hostname}:{part.port or 4222}" for part in parts)


def _reason(error: Exception) -> str:
    """What the broker itself says, where it says anything; nats-py's own text names only the class."""
    return getattr(error, "description", None) or repr(error)


async def _quietly(call: Awaitable[Any]) -> None:
    with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
        await call


def _refusal(error: _ApiError, subject: str, expected: int) -> Exception:
    if error.err_code in _WRONG_LAST_SEQUENCE:
        return SequenceConflict(subject, expected)
    if error.err_code in _NO_ROOM:
        return LogFull(f"{subject}: {error.description}")
    return LogUnavailable(f"{subject}: {error.description}")


def _from_headers(message: Msg, headers: dict[str, str]) -> Recorded:
    time = msgspec.convert(headers["Nats-Time-Stamp"], datetime)
    return record(headers["Nats-Subject"], Sequence(int(headers["Nats-Sequence"])), time, message.data or b"")
