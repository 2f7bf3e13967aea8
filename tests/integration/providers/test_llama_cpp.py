"""A real model behind llama.cpp's own server, if one is up on this machine. What it says is its own affair."""

import os
from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx
import pytest

from services.generator.providers import Finished, Prompt, PromptMessage, TextDelta
from services.generator.providers.registry import Registry, make_registry
from shared.settings import ProviderSettings, Settings

ORIGIN = os.environ.get("UNSPOOL_TEST_LLAMA", "http://127.0.0.1:18080")
COUNT = "one, two, three, four, five, "
NAMES = pytest.mark.parametrize("name", ["openai", "anthropic"])


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    try:
        async with httpx.AsyncClient(timeout=2, trust_env=False) as client:
            (await client.get(f"{ORIGIN}/health")).raise_for_status()
    except httpx.HTTPError as error:
        pytest.skip(f"no llama.cpp at {ORIGIN}: {error}")
    providers = {
        "openai": ProviderSettings(kind="openai", base_url=f"{ORIGIN}/v1", prefill=True),
        "anthropic": ProviderSettings(kind="anthropic", base_url=ORIGIN, prefill=True),
    }
    async with await make_registry(Settings(providers=providers), {}) as found:
        yield found


async def ask(registry: Registry, name: str, prefill: str = "") -> tuple[str, Finished]:
    model = next(one.models[0] for one in await registry.list_catalogues() if one.provider == name)
    provider, model = registry.find(f"{name}/{model}")
    assert provider.can_continue(model)
    prompt = Prompt(
        model=model,
        messages=(PromptMessage("user", "Count from one to twenty, in words."),),
        params={"temperature": 0, "seed": 1, "max_output_tokens": 12},
        prefill=prefill,
    )
    async with aclosing(provider.stream(prompt)) as deltas:
        *texts, finished = [delta async for delta in deltas]
    assert isinstance(finished, Finished)
    return "".join(delta.text for delta in texts if isinstance(delta, TextDelta)), finished


@NAMES
async def test_an_answer_is_streamed_to_its_limit(registry: Registry, name: str) -> None:
    text, finished = await ask(registry, name)
    assert text
    assert finished.finish_reason in {"length", "stop"}
    assert 0 < finished.usage.output_tokens <= 12
    assert finished.usage.input_tokens > 0


@NAMES
async def test_a_text_that_broke_off_is_gone_on_with_and_not_repeated(registry: Registry, name: str) -> None:
    text, _ = await ask(registry, name, COUNT)
    assert text
    assert not text.startswith((COUNT.strip(), " "))
    assert "  " not in COUNT + text
