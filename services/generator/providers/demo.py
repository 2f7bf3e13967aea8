"""A provider without a model: deterministic text, at a pace that the model's name sets.

`500x20ms` is 500 tokens, one every 20 milliseconds. The text depends on the last message only, so that a test
can compute it (`tokens`) and detect a lost or doubled token.
"""

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

from msgspec import Struct

from services.generator.providers import Delta, Finished, Prompt, TextDelta
from shared.domain.errors import ProviderRefused
from shared.domain.events import Usage
from shared.settings import ProviderSettings

TOKENS_MAX = 20_000
PACE_MAX_MILLISECONDS = 10_000
PATTERN = r"([1-9][0-9]{0,3}|1[0-9]{4}|20000)x(0|[1-9][0-9]{0,3}|10000)ms"
"""Contains both limits, because the API knows only the pattern."""
LISTED = ("200x20ms", "20x20ms", "2000x5ms", "100x200ms", "300x200ms")
"""Models in the list. The last ones have a pace that a person can watch: 20 seconds, and a minute."""

_QUOTE_MAX_CHARS = 80
_LINE_TOKENS = 10
_INTRODUCTION = (
    "This is a demo: no language model is configured, so this text is made up word by word. "
    "For real answers set OPENAI_API_KEY or ANTHROPIC_API_KEY, start Ollama, "
    "or configure a provider in unspool.toml. "
)
_VOCABULARY = (
    "amber anchor apple arrow autumn basket beacon birch bramble bridge candle canyon cedar cinder clover "
    "cobalt copper coral cotton crystal daisy delta ember falcon feather fern flint forest garnet ginger "
    "glacier granite harbor hazel heron hollow indigo island ivory jasper juniper kettle lantern laurel "
    "lavender lemon linen lotus magnet maple marble meadow mirror monsoon nectar oasis olive opal orchard "
    "otter paper pebble pepper pine prairie quartz quill raven ribbon river saffron sail shadow silver "
    "sparrow spruce stone summer thistle thunder timber topaz tulip velvet violet walnut willow winter "
    "zephyr"
)
_WORDS = _VOCABULARY.split()


class _Shape(Struct, frozen=True):
    tokens: int
    pace_seconds: float


class Demo:
    """A `Provider` that generates deterministic text and needs no connection."""

    kind = "demo"
    pattern = PATTERN

    def __init__(
        self,
        name: str,
        configured: ProviderSettings | None = None,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        configured = configured or ProviderSettings(kind="demo")
        self.name = name
        self.context_tokens = configured.context_tokens
        self._listed = configured.models or LISTED
        self._can_continue = configured.prefill is not False
        self._pause = pause

    def can_continue(self, model: str, params: Mapping[str, Any] | None = None) -> bool:  # noqa: ARG002
        return self._can_continue

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """Yields the remaining tokens by a fixed schedule: after a slow read, the overdue tokens come at once."""
        shape = _shape(prompt.model)
        left = remaining_tokens(prompt)
        said = left[: _limit(prompt, len(left))]
        now = asyncio.get_running_loop().time
        began = now()
        for number, token in enumerate(said, start=1):
            await self._pause(max(0.0, began + number * shape.pace_seconds - now()))
            yield TextDelta(token)
        yield Finished(
            finish_reason="length" if len(said) < len(left) else "stop",
            usage=Usage(
                input_tokens=sum(len(message.text.split()) for message in prompt.messages),
                output_tokens=len(said),
            ),
        )

    async def list_models(self) -> tuple[str, ...]:
        return self._listed

    async def close(self) -> None:
        pass


def tokens(prompt: Prompt) -> list[str]:
    """Returns the whole answer to a prompt as its tokens, without regard to prefill and limit."""
    shape = _shape(prompt.model)
    asked = prompt.messages[-1].text if prompt.messages else ""
    opening = _pieces(_INTRODUCTION + f"You asked: “{_quote(asked)}”")
    seed = hashlib.sha256(asked.encode("utf-8", "replace")).digest()
    filler = (_filler(seed, number) for number in range(len(opening) + 1, shape.tokens + 1))
    return [*opening[: shape.tokens], *filler]


def remaining_tokens(prompt: Prompt) -> list[str]:
    """Returns the tokens after the prompt's prefill; the first one may be the rest of a token.

    A prefill that is not a beginning of the text, as after a change of model, counts by its words: the answer
    has about the length that the model's name sets, and is never empty.
    """
    whole = tokens(prompt)
    if not "".join(whole).startswith(prompt.prefill):
        return whole[len(prompt.prefill.split()) :] or whole[-1:]
    covered = len(prompt.prefill)
    for number, token in enumerate(whole):
        if covered < len(token):
            return [token[covered:], *whole[number + 1 :]]
        covered -= len(token)
    return []


def _shape(model: str) -> _Shape:
    if not (found := re.fullmatch(PATTERN, model)):
        raise ProviderRefused(
            f"The demo has no model {model!r}. Use TOKENSxPACEms, such as 500x20ms "
            f"(at most {TOKENS_MAX} tokens and {PACE_MAX_MILLISECONDS} ms).",
            status=404,
        )
    return _Shape(int(found[1]), int(found[2]) / 1000)


def _limit(prompt: Prompt, otherwise: int) -> int:
    wanted = prompt.params.get("max_output_tokens")
    return wanted if isinstance(wanted, int) and wanted > 0 else otherwise


def _pieces(text: str) -> list[str]:
    """Splits a text into words, each with the white space before it, like a model's tokens."""
    return re.findall(r"\s*\S+", text)


def _quote(asked: str) -> str:
    line = " ".join(asked.split())
    return line if len(line) <= _QUOTE_MAX_CHARS else line[: _QUOTE_MAX_CHARS - 1] + "…"


def _filler(seed: bytes, number: int) -> str:
    """Returns the token at position `number`, from 1. Each line begins with its position, which makes gaps visible."""
    if number % _LINE_TOKENS == 0:
        return f"\n{number}."
    mixed = hashlib.blake2b(seed + number.to_bytes(4), digest_size=4).digest()
    end = "." if number % _LINE_TOKENS == _LINE_TOKENS - 1 else ""
    return f" {_WORDS[int.from_bytes(mixed) % len(_WORDS)]}{end}"
