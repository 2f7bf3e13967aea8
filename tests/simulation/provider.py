"""A provider whose text follows from the model's name, and that fails as the seed decides.

A model's name is `<p or n><tokens>-<answer's local id>`: `p` can continue a given text, `n` cannot.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from msgspec import Struct

from services.generator.providers import Delta, Finished, Prompt, TextDelta
from shared.domain.errors import ProviderInterrupted, ProviderRefused, ProviderUnavailable
from shared.domain.events import Usage


class Moods(Struct):
    """Probabilities per call, and for `interrupts` per token."""

    unavailable: float = 0.0
    refuses: float = 0.0
    interrupts: float = 0.0
    pace_seconds: float = 0.02


def model(local: str, tokens: int, *, can_continue: bool) -> str:
    return f"sim/{'p' if can_continue else 'n'}{tokens}-{local}"


def tokens(name: str) -> list[str]:
    count, _, local = name[1:].partition("-")
    return [f"{local[-4:]}.{number} " for number in range(1, int(count) + 1)]


class SimProvider:
    name = "sim"
    kind = "demo"
    pattern = ".+"
    context_tokens = 32_768

    def __init__(self, random_: random.Random, moods: Moods, called: Callable[[str, str], None]) -> None:
        self._random = random_
        self._moods = moods
        self._called = called

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:
        return model.startswith("p")

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        self._called(prompt.model, prompt.prefill)
        if self._random.random() < self._moods.refuses:
            raise ProviderRefused("no")
        if self._random.random() < self._moods.unavailable:
            raise ProviderUnavailable("busy")
        whole = "".join(tokens(prompt.model))
        left = whole[len(prompt.prefill) :]
        said = 0
        while left:
            await asyncio.sleep(self._moods.pace_seconds * 2 * self._random.random())
            if self._random.random() < self._moods.interrupts:
                raise ProviderInterrupted("broke off")
            word, space, left = left.partition(" ")
            said += 1
            yield TextDelta(word + space)
        yield Finished(finish_reason="stop", usage=Usage(input_tokens=1, output_tokens=said))

    async def list_models(self) -> tuple[str, ...]:
        return ()

    async def close(self) -> None:
        pass
