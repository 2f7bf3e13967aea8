"""Reads stored events: from the leader, or in bulk by Direct Get."""

import asyncio
import base64
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg

from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence
from shared.log.connection import NATS_UNAVAILABLE, OverConnection
from shared.log.publisher import ApiError
from shared.log.recorded import Recorded, record

_NOT_FOUND = {10014, 10037, 10059}
_BATCH = 500


class _GotMessage(Struct):
    subject: str
    seq: int
    time: str
    data: str = ""


class _GetReply(Struct):
    message: _GotMessage | None = None
    error: ApiError | None = None


_get_reply = msgspec.json.Decoder(_GetReply)


class Reader(OverConnection):
    """Reads stored events. A replica may lag: reads that must be complete are compared with the leader."""

    async def last(self, subject: str) -> Recorded | None:
        return await self._get(subjects.stream_of(subject), {"last_by_subj": subject})

    async def next(self, subject: str, at: Sequence) -> Recorded | None:
        return await self._get(subjects.stream_of(subject), {"seq": int(at), "next_by_subj": subject})

    async def at(self, stream: str, sequence: Sequence) -> Recorded | None:
        """Returns the event from the leader; None if it was purged or never existed."""
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
        """Returns the next messages of a stream on any subject: at most `most`, fewer if a replica lags."""
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
        """Returns the first sequence stored at or after a time of the broker's clock; None if there is none."""
        found, _ = await self._direct(
            stream, {"batch": 1, "start_time": time.isoformat(), "next_by_subj": ">"}
        )
        return found[0].sequence if found else None

    async def latest(self, wildcard: str) -> list[Recorded]:
        """Returns the last message of each matching subject."""
        stream = subjects.stream_of(wildcard)
        found, _ = await self._direct(stream, {"multi_last": [wildcard], "batch": _BATCH})
        return found

    async def _get(self, stream: str, query: dict[str, Any]) -> Recorded | None:
        data = await self._connection.request(
            f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(query), None
        )
        reply = _get_reply.decode(data)
        if reply.message is not None:
            got = reply.message
            return record(got.subject, Sequence(got.seq), parse_time(got.time), base64.b64decode(got.data))
        if reply.error is not None and reply.error.err_code not in _NOT_FOUND:
            raise LogUnavailable(f"{stream}: {reply.error.description}")
        return None

    async def _direct(self, stream: str, query: dict[str, Any]) -> tuple[list[Recorded], int]:
        """Returns the messages of one Direct Get, and the number of remaining ones."""
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

        inbox = self._connection.bulk.new_inbox()
        try:
            subscription = await self._connection.bulk.subscribe(inbox, cb=take)
            try:
                await self._connection.bulk.publish(
                    f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(query), reply=inbox
                )
                pending = await asyncio.wait_for(done, self._connection.timeout_seconds)
            finally:
                await subscription.unsubscribe()
        except NATS_UNAVAILABLE as error:
            raise LogUnavailable(f"{stream}: no answer to a read: {error!r}") from error
        return found, pending


def parse_time(text: str) -> datetime:
    """Returns a time of the broker, whose nanoseconds are cut off as a follower cuts them: one fact has one time."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00")


def _from_headers(message: Msg, headers: dict[str, str]) -> Recorded:
    time = parse_time(headers["Nats-Time-Stamp"])
    return record(headers["Nats-Subject"], Sequence(int(headers["Nats-Sequence"])), time, message.data or b"")
