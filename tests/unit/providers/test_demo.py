"""The demo's text can be foretold word by word, and says that it is a demo."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.providers import Delta, Finished, Prompt, PromptMessage, TextDelta, demo
from services.generator.providers.demo import Demo
from shared.domain.errors import ProviderRefused


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


def asked(text: str = "Why?", model: str = "60x0ms", prefill: str = "", **params: Any) -> Prompt:
    return Prompt(model=model, messages=(PromptMessage("user", text),), params=params, prefill=prefill)


async def said(prompt: Prompt) -> tuple[list[str], Finished]:
    async with aclosing(Demo("demo", pause=at_once).stream(prompt)) as deltas:
        *texts, finished = [delta async for delta in deltas]
    assert isinstance(finished, Finished)
    return [_text(delta) for delta in texts], finished


def _text(delta: Delta | Finished) -> str:
    assert isinstance(delta, TextDelta)
    return delta.text


async def test_what_comes_is_what_was_foretold() -> None:
    texts, finished = await said(asked())
    assert texts == demo.tokens(asked())
    assert len(texts) == finished.usage.output_tokens == 60
    assert finished.finish_reason == "stop"


def test_the_text_says_first_that_it_is_a_demo_and_what_to_do_about_it() -> None:
    text = "".join(demo.tokens(asked()))
    assert text.startswith("This is a demo: no language model is configured")
    assert "OPENAI_API_KEY" in text
    assert "unspool.toml" in text


def test_the_text_depends_on_the_question_and_quotes_it() -> None:
    assert "“Why not?”" in "".join(demo.tokens(asked("Why  \n not?")))
    one, other = demo.tokens(asked("a")), demo.tokens(asked("b"))
    assert one != other
    assert one == demo.tokens(asked("a"))


def test_every_line_begins_with_the_number_of_its_token() -> None:
    tokens = demo.tokens(asked(model="500x0ms"))
    numbered = {number: token for number, token in enumerate(tokens, start=1) if token.startswith("\n")}
    assert len(numbered) > 40
    assert all(token == f"\n{number}." for number, token in numbered.items())


@given(st.data())
async def test_a_text_that_broke_off_anywhere_is_gone_on_with_exactly(choices: st.DataObject) -> None:
    whole = "".join(demo.tokens(asked()))
    prefill = whole[: choices.draw(st.integers(0, len(whole)))]
    texts, finished = await said(asked(prefill=prefill))
    assert prefill + "".join(texts) == whole
    assert finished.finish_reason == "stop"


async def test_a_foreign_beginning_is_gone_on_with_after_as_many_words() -> None:
    texts, _ = await said(asked(prefill="Words of another model"))
    assert texts == demo.tokens(asked())[4:]
    texts, _ = await said(asked(prefill="word " * 1000))
    assert texts == demo.tokens(asked())[-1:]


async def test_a_limit_on_the_output_ends_it_with_length() -> None:
    texts, finished = await said(asked(max_output_tokens=5))
    assert texts == demo.tokens(asked())[:5]
    assert finished.finish_reason == "length"
    _, finished = await said(asked(max_output_tokens=60))
    assert finished.finish_reason == "stop"


@pytest.mark.parametrize("model", ["1x0ms", "20000x10000ms", "500x20ms", *demo.LISTED])
def test_a_name_within_the_bounds_is_a_model(model: str) -> None:
    tokens = demo.tokens(asked(model=model))
    assert len(tokens) == int(model.partition("x")[0])


@pytest.mark.parametrize(
    "model", ["0x0ms", "20001x0ms", "99999x0ms", "5x10001ms", "hello", "5x5", "05x5ms", "5x5ms "]
)
async def test_any_other_name_is_refused(model: str) -> None:
    with pytest.raises(ProviderRefused, match="500x20ms"):
        await said(asked(model=model))


async def test_a_pace_is_kept_on_the_whole() -> None:
    """A pause is what is left until the token is due: so pauses add up, when none of them takes any time."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    async with aclosing(Demo("demo", pause=note).stream(asked(model="5x10000ms"))) as deltas:
        assert len([delta async for delta in deltas]) == 6
    assert [round(pause) for pause in pauses] == [10, 20, 30, 40, 50]
