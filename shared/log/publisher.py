"""Appends over NATS, one try each. `shared/log/append.py` has retries and the meaning of a rejection."""

import msgspec
from msgspec import Struct

from shared import metrics
from shared.domain.errors import LogFull, LogUnavailable, SequenceConflict
from shared.domain.subjects import Sequence
from shared.log.connection import OverConnection

_WRONG_LAST_SEQUENCE = {10071, 10164}
_NO_ROOM = {10002, 10023, 10028, 10047, 10054, 10077}


class ApiError(Struct):
    """An error of JetStream's API."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(Struct):
    seq: int = 0
    duplicate: bool = False
    error: ApiError | None = None


_pub_ack = msgspec.json.Decoder(_PubAck)


class Publisher(OverConnection):
    """Publishes to the streams and waits for JetStream's acknowledgement."""

    @metrics.append
    async def publish(
        self, subject: str, data: bytes, *, expected: Sequence, scope: str, id_: str = ""
    ) -> Sequence:
        headers = {"Nats-Expected-Last-Subject-Sequence": str(expected)}
        if scope != subject:
            headers["Nats-Expected-Last-Subject-Sequence-Subject"] = scope
        if id_:
            headers["Nats-Msg-Id"] = id_
        ack = _pub_ack.decode(await self._connection.request(subject, data, headers))
        if (
            ack.duplicate
        ):  # nothing was stored: an event of this id was there. Whether it is this one, the caller sees.
            raise SequenceConflict(subject, expected)
        if ack.error is None:
            return Sequence(ack.seq)
        raise _refusal(ack.error, subject, expected)

    async def publish_latest(self, subject: str, data: bytes) -> None:
        """Publishes without a condition, for subjects that keep only their last message."""
        ack = _pub_ack.decode(await self._connection.request(subject, data, None))
        if ack.error is not None:
            raise _refusal(ack.error, subject, 0)


def _refusal(error: ApiError, subject: str, expected: int) -> Exception:
    if error.err_code in _WRONG_LAST_SEQUENCE:
        return SequenceConflict(subject, expected)
    if error.err_code in _NO_ROOM:
        return LogFull(f"{subject}: {error.description}")
    return LogUnavailable(f"{subject}: {error.description}")
