"""Whatever a model says, what is stored can be stored: no NUL, no half of a surrogate pair."""

from hypothesis import given
from hypothesis import strategies as st

from services.generator.providers import Delta, ReasoningDelta, TextDelta, ToolCallDelta
from services.generator.providers.storable import SurrogateJoiner, storable
from shared.domain.events import ToolCallFragment

CAT = "\U0001f408"
HIGH, LOW = "\ud83d", "\udc08"


def cleaned(*deltas: Delta) -> list[Delta]:
    joiner = SurrogateJoiner()
    return [clean for delta in deltas if (clean := joiner.clean(delta))] + joiner.flush()


def call(arguments: str, index: int = 0) -> ToolCallDelta:
    return ToolCallDelta(ToolCallFragment(index=index, arguments=arguments))


def test_nul_and_halves_are_replaced() -> None:
    assert storable(f"a\x00b{HIGH}c{LOW}") == "a\ufffdb\ufffdc\ufffd"


def test_a_pair_in_two_halves_is_one_character() -> None:
    assert storable(f"a{HIGH}{LOW}b") == f"a{CAT}b"


def test_a_pair_split_over_two_deltas_is_one_character() -> None:
    assert cleaned(TextDelta(f"a{HIGH}"), TextDelta(f"{LOW}b")) == [TextDelta("a"), TextDelta(f"{CAT}b")]
    assert cleaned(call(HIGH), call(LOW)) == [call(CAT)]


def test_a_half_waits_for_its_own_text_only() -> None:
    deltas: list[Delta] = [TextDelta(HIGH), ReasoningDelta(f"x{LOW}"), call("y", 1), TextDelta(LOW)]
    assert cleaned(*deltas) == [ReasoningDelta("x\ufffd"), call("y", 1), TextDelta(CAT)]


def test_a_half_that_stays_alone_is_replaced_at_the_end() -> None:
    assert cleaned(TextDelta(f"a{HIGH}")) == [TextDelta("a"), TextDelta("\ufffd")]
    assert cleaned(ReasoningDelta(HIGH), call(HIGH, 3)) == [ReasoningDelta("\ufffd"), call("\ufffd", 3)]


def test_ids_and_names_of_tools_are_cleaned_too() -> None:
    dirty = ToolCallDelta(ToolCallFragment(index=0, id=f"a{HIGH}", name="b\x00"))
    assert cleaned(dirty) == [ToolCallDelta(ToolCallFragment(index=0, id="a\ufffd", name="b\ufffd"))]


def halves() -> st.SearchStrategy[str]:
    return st.text(st.sampled_from(["a", "\x00", HIGH, LOW, CAT, "ž"]))


@given(st.lists(halves()))
def test_pieces_do_not_matter_and_the_whole_can_be_stored(pieces: list[str]) -> None:
    text = "".join(delta.text for delta in cleaned(*map(TextDelta, pieces)) if isinstance(delta, TextDelta))
    assert text == storable("".join(pieces))
    assert "\x00" not in text
    assert text.encode().decode() == text
