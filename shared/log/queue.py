"""The state of a queue, as the broker reports it."""

from datetime import datetime

import msgspec
from msgspec import Struct

from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence


class Queue(Struct, frozen=True, kw_only=True):
    """The state of a durable consumer: pending requests, unacknowledged requests, and open pulls."""

    num_pending: int
    num_ack_pending: int
    num_waiting: int
    delivered: Sequence
    """The newest request that was given to anybody."""
    time: datetime | None
    """When the broker said so, by its own clock."""


class _Delivered(Struct, frozen=True):
    stream_seq: Sequence = Sequence(0)


class _Info(Struct):
    num_pending: int = 0
    num_ack_pending: int = 0
    num_waiting: int = 0
    delivered: _Delivered = _Delivered()
    ts: datetime | None = None
    error: dict[str, object] | None = None


_info = msgspec.json.Decoder(_Info)


def decode(reply: bytes) -> Queue:
    """Returns the state. Raises `LogUnavailable` if the reply is an error: there is no such consumer, or no leader."""
    info = _info.decode(reply)
    if info.error is not None:
        raise LogUnavailable(f"a queue's state is not known: {info.error.get('description', '')}")
    return Queue(
        num_pending=info.num_pending,
        num_ack_pending=info.num_ack_pending,
        num_waiting=info.num_waiting,
        delivered=info.delivered.stream_seq,
        time=info.ts,
    )
