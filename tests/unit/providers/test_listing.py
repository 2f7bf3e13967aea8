"""A list of models is read in every server's form."""

import pytest

from services.generator.providers import listing


@pytest.mark.parametrize(
    "found",
    [
        {"object": "list", "data": [{"id": "a"}, {"id": "b"}]},
        {"models": [{"name": "a", "model": "x"}, {"model": "b"}]},
        {"data": ["a", "b", "a"]},
        [{"id": "a"}, {"id": "b"}],
        {"data": [{"id": "a"}, {"id": 3}, None, {}, {"id": ""}, {"id": "x" * 1000}, {"id": "b"}]},
    ],
)
def test_names_are_found(found: object) -> None:
    assert listing.model_names(found) == ("a", "b")


@pytest.mark.parametrize("found", [None, {}, {"data": None}, "a", 3, {"data": {"a": 1}}])
def test_what_is_no_list_has_no_names(found: object) -> None:
    assert listing.model_names(found) == ()


def test_a_list_without_end_is_cut() -> None:
    assert len(listing.model_names({"data": [str(number) for number in range(10**5)]})) == listing.MODELS_MAX
