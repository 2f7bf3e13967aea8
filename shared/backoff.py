"""Computes exponential backoff. Pure."""

_DOUBLINGS_MAX = 30
"""Limit of the exponent, to avoid an overflow; the longest wait is reached earlier."""


def backoff_seconds(failures: int, *, first_seconds: float, longest_seconds: float) -> float:
    """Returns the wait before the next try: `first_seconds` after the first failure, doubled with each further one."""
    doublings = min(max(0, failures - 1), _DOUBLINGS_MAX)
    return min(first_seconds * 2.0**doublings, longest_seconds)
