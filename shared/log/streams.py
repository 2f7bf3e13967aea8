"""The streams and the durable consumers, with the settings that were measured (`jetstream.md`)."""

from typing import Any

from shared.domain import subjects
from shared.settings import Settings

Config = dict[str, Any]
"""Field names and values as JetStream's API has them, durations in seconds."""


def streams(settings: Settings) -> list[Config]:
    """As measured in `jetstream.md`. `deny_delete` leaves purge, which deleting a chat needs."""
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
