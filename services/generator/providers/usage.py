"""Numbers as providers count them, made safe. Pure."""

COUNT_MAX = 2**53 - 1
"""What JavaScript holds exactly; more is nonsense."""


def count(found: object) -> int:
    """0 for what is no number of tokens: usage is told where it is known, and never a reason to fail."""
    return min(found, COUNT_MAX) if isinstance(found, int) and found > 0 else 0
