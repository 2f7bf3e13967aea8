"""The stops that a generator has followed: its reply for a request is complete, or there is none."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.generator.stops import Stops
from shared.domain.events import CancelRequested, encode
from shared.domain.subjects import Sequence, fact
from shared.log.recorded import Recorded, record
from tests.support import examples

REQUEST = Sequence(1)


def stored(event: Any, name: str, sequence: int) -> Recorded:
    return record(fact(examples.CHAT, name), Sequence(sequence), datetime.now(UTC), encode(event))


def cancel(number: int, sequence: int) -> Recorded:
    return stored(examples.cancel_requested(number), "cancel-requested", sequence)


def follower(*, began_after: int = 0, is_sound: bool = True) -> Any:
    return SimpleNamespace(began_after=Sequence(began_after), is_sound=is_sound)


@given(
    cancelled=st.lists(st.integers(1, 4), max_size=30),
    stops_max=st.integers(1, 8),
    request=st.integers(0, 40),
    began_after=st.integers(0, 5),
)
def test_a_reply_has_every_stop_since_the_request_or_there_is_none(
    cancelled: list[int], stops_max: int, request: int, began_after: int
) -> None:
    stops = Stops(stops_max)
    followed = [(sequence, number) for sequence, number in enumerate(cancelled, 1) if sequence > began_after]
    for sequence, number in followed:
        stops.follow(cancel(number, sequence))
    found = stops.since(examples.message_requested(), Sequence(request), follower(began_after=began_after))
    newest_evicted = followed[: -stops_max or None][-1][0] if len(followed) > stops_max else 0
    if request < max(began_after, newest_evicted):
        assert found is None
    else:
        assert found is not None
        expected = sum(number == 1 for sequence, number in followed if sequence > request)
        assert sum(isinstance(one, CancelRequested) for one in found) >= expected


def test_the_deletion_of_the_chat_is_a_stop_of_each_of_its_requests() -> None:
    stops = Stops(10)
    stops.follow(stored(examples.chat_deleted(), "chat-deleted", 2))
    assert stops.since(examples.message_requested(), REQUEST, follower()) == [examples.chat_deleted()]
    assert stops.since(examples.message_requested(2), REQUEST, follower()) == [examples.chat_deleted()]


def test_there_is_no_reply_while_the_follower_may_have_missed_one() -> None:
    stops = Stops(10)
    assert stops.since(examples.message_requested(), REQUEST, follower(is_sound=False)) is None
    assert stops.since(examples.message_requested(), REQUEST, follower(began_after=2)) is None


def test_what_a_rewound_log_lost_is_no_stop() -> None:
    stops = Stops(1)
    for sequence in (2, 3):
        stops.follow(cancel(1, sequence))
    stops.clear()
    assert stops.since(examples.message_requested(), REQUEST, follower()) == []
