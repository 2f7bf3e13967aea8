"""How a queue of the log stands, as the broker tells it."""

from datetime import datetime

import msgspec
from msgspec import Struct

from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence


class Queue(Struct, frozen=True, kw_only=True):
    """How a durable consumer stands: requests that were not delivered yet, not acknowledged yet, and pulls that wait."""

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
    """Raises `LogUnavailable` where the reply is an error: there is no such queue, or no leader now."""
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
