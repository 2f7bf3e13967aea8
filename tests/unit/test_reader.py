"""The times of stored events as the reads of the log have them."""

import pytest

from shared.log.reader import parse_time


@pytest.mark.parametrize(
    ("text", "microsecond"),
    [
        ("2026-11-27T11:09:46.123456789Z", 123456),
        ("2026-11-27T11:09:46.1234569Z", 123456),
        ("2026-11-27T11:09:46.5Z", 500_000),
        ("2026-11-27T11:09:46Z", 0),
    ],
)
def test_nanoseconds_are_cut_off_as_a_follower_cuts_them(text: str, microsecond: int) -> None:
    assert (
        parse_time(text).isoformat()
        == f"2026-11-27T11:09:46{f'.{microsecond:06}' if microsecond else ''}+00:00"
    )
