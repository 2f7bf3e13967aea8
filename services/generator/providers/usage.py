"""Validates token counts of providers. Pure."""

COUNT_MAX = 2**53 - 1
"""The largest integer that JavaScript represents exactly."""


def token_count(found: object) -> int:
    """Returns a count from 0 to `COUNT_MAX`, and 0 for anything else: usage must never fail an answer."""
    return min(found, COUNT_MAX) if isinstance(found, int) and found > 0 else 0
