"""Durations and ages in a few characters, for lists."""

from datetime import datetime

UNITS = (("d", 86_400), ("h", 3600), ("min", 60))


def describe_duration(seconds: float) -> str:
    """Returns whole units of the largest kind that fits: `45 s`, `3 min`, `2 h`, `4 d`."""
    for unit, length in UNITS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


def describe_age(time: datetime | None, now: datetime) -> str:
    """Returns the time since then, or an empty text if it is unknown."""
    return describe_duration((now - time).total_seconds()) if time else ""
