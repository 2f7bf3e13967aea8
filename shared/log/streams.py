"""The streams and durable consumers, with their measured settings."""

from typing import Any

import nats.errors
import nats.js.errors
from nats.js import api

from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence
from shared.log import queue
from shared.log.connection import NATS_UNAVAILABLE, OverConnection, reason_of
from shared.log.protocol import Position
from shared.settings import Settings

Config = dict[str, Any]
"""Field names and values as JetStream's API has them, durations in seconds."""


def streams(settings: Settings) -> list[Config]:
    """Returns the configuration of all streams. `deny_delete` still allows the purge that deletes a chat."""
    common: dict[str, Any] = {
        "storage": "file",
        "retention": "limits",
        "allow_direct": True,
        "num_replicas": settings.stream_replicas,
        "duplicate_window": settings.log_duplicate_window_seconds,
    }
    return [
        dict(name=subjects.CHATS, subjects=[subjects.CHATS_SUBJECTS], deny_delete=True, **common),
        dict(
            name=subjects.TOKENS,
            subjects=[subjects.TOKENS_SUBJECTS],
            deny_delete=True,
            max_age=settings.tokens_max_age_seconds,
            max_bytes=settings.tokens_max_bytes,
            discard="new",
            **common,
        ),
        dict(name=subjects.MODELS, subjects=[subjects.MODELS_SUBJECTS], max_msgs_per_subject=1, **common),
    ]


def consumers(settings: Settings) -> list[Config]:
    common: dict[str, Any] = {
        "ack_policy": "explicit",
        "deliver_policy": "all",
        "ack_wait": settings.ack_wait_seconds,
        "max_deliver": -1,
        "max_ack_pending": settings.ack_pending_max,
        "max_waiting": 2000,
    }
    return [
        dict(durable_name=subjects.GENERATORS, filter_subjects=list(subjects.REQUESTS), **common),
        dict(durable_name=subjects.TITLES, filter_subjects=list(subjects.ENDS), **common),
    ]


class Streams(OverConnection):
    """Creates the streams and durable consumers, reads their state, and purges."""

    async def ensure(self) -> None:
        """Creates or updates the streams and durable consumers. Concurrent calls are safe."""
        for stream in streams(self._connection.settings):
            await self._upsert(api.StreamConfig(**stream))
        for consumer in consumers(self._connection.settings):
            await self._connection.call(
                self._connection.manager().add_consumer(subjects.CHATS, api.ConsumerConfig(**consumer))
            )

    async def position(self, stream: str) -> Position:
        info = await self._connection.call(self._connection.manager().stream_info(stream))
        return Position(
            Sequence(info.state.first_seq), Sequence(info.state.last_seq), str(info.created or "")
        )

    async def ack_floor(self, durable: str) -> Sequence:
        """Returns the sequence up to which every request is acknowledged."""
        position = await self.position(subjects.CHATS)
        info = await self._connection.call(self._connection.manager().consumer_info(subjects.CHATS, durable))
        if not info.num_ack_pending and not info.num_pending:
            return position.last  # read before: what has come since is not meant
        return Sequence(info.ack_floor.stream_seq if info.ack_floor else 0)

    async def queue(self, durable: str) -> queue.Queue:
        """Returns the state of a durable consumer, from its leader."""
        name = f"$JS.API.CONSUMER.INFO.{subjects.CHATS}.{durable}"
        return queue.decode(await self._connection.request(name, b"", None))

    async def purge(self, subject: str, before: Sequence | None = None) -> None:
        """Deletes the messages on a subject or wildcard before the sequence `before`."""
        stream = subjects.stream_of(subject)
        await self._connection.call(
            self._connection.manager().purge_stream(stream, seq=before, subject=subject)
        )

    async def _upsert(self, config: api.StreamConfig) -> None:
        try:
            await self._connection.manager().add_stream(config)
        except nats.js.errors.BadRequestError:  # it is there with other settings
            await self._connection.call(self._connection.manager().update_stream(config))
        except NATS_UNAVAILABLE as error:
            raise LogUnavailable(f"cannot make stream {config.name}: {reason_of(error)}") from error
