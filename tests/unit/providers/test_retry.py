"""A provider that is away is asked again, a bounded number of times, and never once it has begun to speak."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

import pytest

from services.generator.providers import Delta, Finished, Prompt, TextDelta
from services.generator.providers.retry import stream_with_retries, wait_seconds
from shared.domain.errors import ProviderError, ProviderInterrupted, ProviderRefused, ProviderUnavailable
from shared.settings import Settings

SETTINGS = Settings(provider_retries_max=3, provider_backoff_seconds=1.0, provider_backoff_max_seconds=10.0)
PROMPT = Prompt(model="m", messages=())
DONE = Finished(finish_reason="stop")
AWAY = ProviderUnavailable("away")


class Played:
    """A provider that plays one take after the other: deltas, and perhaps an error."""

    name = "played"
    kind = "openai"
    pattern = ""
    context_tokens = 1

    def __init__(self, *takes: Iterable[Delta | Finished | ProviderError]) -> None:
        self.takes = list(takes)
        self.closed = 0

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:
        return False

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        try:
            for step in self.takes.pop(0):
                if isinstance(step, ProviderError):
                    raise step
                yield step
        finally:
            self.closed += 1

    async def list_models(self) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        pass


async def play(provider: Played, random: float = 0.5) -> tuple[list[Delta | Finished], list[float]]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with aclosing(stream_with_retries(provider, PROMPT, SETTINGS, sleep, lambda: random)) as deltas:
        return [delta async for delta in deltas], waits


async def test_a_good_answer_is_passed_on() -> None:
    assert await play(Played([TextDelta("a"), DONE])) == ([TextDelta("a"), DONE], [])


async def test_waits_double_and_the_answer_comes_in_the_end() -> None:
    said, waits = await play(Played([AWAY], [AWAY], [AWAY], [DONE]))
    assert said == [DONE]
    assert waits == [0.5, 1.0, 2.0]


async def test_after_the_last_try_the_error_is_told() -> None:
    provider = Played([AWAY], [AWAY], [AWAY], [AWAY], [DONE])
    with pytest.raises(ProviderUnavailable):
        await play(provider)
    assert provider.takes == [[DONE]]


@pytest.mark.parametrize("error", [ProviderRefused("no"), ProviderInterrupted("cut")])
async def test_other_errors_are_told_at_once(error: ProviderError) -> None:
    provider = Played([error], [DONE])
    with pytest.raises(type(error)):
        await play(provider)
    assert provider.takes == [[DONE]]


async def test_what_has_begun_is_never_begun_again() -> None:
    provider = Played([TextDelta("a"), AWAY], [DONE])
    with pytest.raises(ProviderUnavailable):
        await play(provider)
    assert provider.takes == [[DONE]]


async def test_closing_the_iterator_closes_the_providers() -> None:
    provider = Played([TextDelta("a"), TextDelta("b"), DONE])
    deltas = stream_with_retries(provider, PROMPT, SETTINGS)
    assert await anext(deltas) == TextDelta("a")
    await deltas.aclose()
    assert provider.closed == 1


@pytest.mark.parametrize(
    ("asked", "retry", "share", "seconds"),
    [
        (None, 0, 1.0, 1.0),
        (None, 2, 0.25, 1.0),
        (None, 10**6, 1.0, 10.0),
        (3.0, 0, 0.0, 3.0),
        (3.0, 1, 0.5, 4.0),
        (3600.0, 0, 0.0, 10.0),
    ],
)
def test_a_wait_is_what_the_provider_asks_for_and_some_more_within_a_bound(
    asked: float | None, retry: int, share: float, seconds: float
) -> None:
    error = ProviderUnavailable("away", retry_after_seconds=asked)
    assert wait_seconds(error, retry, SETTINGS, share) == seconds
