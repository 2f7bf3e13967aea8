"""At the seam between a text that broke off and what follows, nothing is doubled and nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.providers.continuation import Continuation

LONG = "one, two, three, four, five,"


def continued(prefill: str, *pieces: str) -> str:
    continuation = Continuation(prefill)
    return prefill + "".join(continuation.drop_overlap(piece) for piece in pieces)


def test_white_space_at_the_end_is_not_sent() -> None:
    assert Continuation("one, two, \n").prefill == "one, two,"
    assert Continuation(" \n").prefill == ""


@pytest.mark.parametrize(
    ("kept", "comes", "whole"),
    [
        (" ", [" three"], "two, three"),
        (" ", ["three"], "two, three"),
        (" ", ["\n\nthree"], "two, \n\nthree"),
        ("\n", ["\n\nthree"], "two,\n\nthree"),
        ("\n\n", ["\n", "three"], "two,\n\nthree"),
        ("\n    ", ["\n", "  ", "  three"], "two,\n    three"),
        ("\n  ", ["\n    three"], "two,\n    three"),
        ("", [" three"], "two, three"),
        (" ", [" ", " three"], "two,  three"),
    ],
)
def test_white_space_that_the_reader_has_seen_comes_once(kept: str, comes: list[str], whole: str) -> None:
    assert continued("two," + kept, *comes) == whole


def test_an_echo_is_dropped() -> None:
    assert continued(LONG, LONG + " six") == LONG + " six"
    assert continued(LONG, LONG, " six") == LONG + " six"
    assert continued(LONG + " ", LONG + " six") == LONG + " six"


def test_a_text_that_only_begins_like_an_echo_is_kept() -> None:
    assert continued(LONG, "one, two, three", " again") == LONG + "one, two, three again"


def test_only_the_first_piece_can_be_an_echo() -> None:
    assert continued(LONG, " ", LONG) == LONG + " " + LONG


def test_a_short_text_that_is_repeated_is_not_taken_for_an_echo() -> None:
    assert continued("ha", "ha", "ha") == "hahaha"


def test_without_a_prefill_all_comes_as_it_is() -> None:
    assert continued("", " ", "one") == " one"


WORDS = st.text("ab \n", min_size=1)


@given(st.text("ab").map(lambda text: text + "b"), WORDS, st.data())
def test_a_model_that_writes_the_same_text_again_gives_the_same_whole(
    start: str, rest: str, choices: st.DataObject
) -> None:
    """However the answer broke off, at a white space or not, and in whatever pieces it goes on."""
    whole = start + rest + "b"
    prefill = whole[: choices.draw(st.integers(len(start), len(whole) - 1))]
    left = whole[len(prefill.rstrip()) :]
    cut = choices.draw(st.integers(0, len(left)))
    if len(prefill.rstrip()) < 16:  # a longer one may be an echo by chance, of so few letters
        assert continued(prefill, left[:cut], left[cut:]) == whole
