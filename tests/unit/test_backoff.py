"""Waits between tries double, and have a limit."""

from shared.backoff import backoff_seconds


def test_a_wait_doubles_with_each_failure_up_to_its_limit() -> None:
    waits = [
        backoff_seconds(failures, first_seconds=0.5, longest_seconds=3) for failures in (1, 2, 3, 4, 10**6)
    ]
    assert waits == [0.5, 1, 2, 3, 3]
