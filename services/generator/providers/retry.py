"""Another try for a provider that is overloaded or away: before the first delta, and never after."""

import asyncio
import random as random_
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from services.generator import metrics
from services.generator.providers import Delta, Finished, Prompt, Provider
from shared.domain.errors import ProviderUnavailable
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

_DOUBLINGS_MAX = 16
"""Beyond, the bound holds in any case, and a power of two would only overflow."""


async def opened(
    provider: Provider,
    prompt: Prompt,
    settings: Settings,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = random_.random,
) -> AsyncGenerator[Delta | Finished, None]:
    """As `provider.stream`, with up to `provider_retries_max` more tries after `ProviderUnavailable`."""
    for retry in range(settings.provider_retries_max + 1):
        begun = False
        try:
            async with aclosing(provider.stream(prompt)) as deltas:
                async for delta in deltas:
                    begun = True
                    yield delta
        except ProviderUnavailable as error:
            if begun or retry == settings.provider_retries_max:
                raise
            seconds = wait_seconds(error, retry, settings, random())
            metrics.PROVIDER_RETRIES.labels(metrics.provider_of(f"{provider.name}/")).inc()
            log.info(
                "provider-retry",
                provider=provider.name,
                retry=retry + 1,
                wait_seconds=seconds,
                status=error.status,
            )
        else:
            return
        await sleep(seconds)


def wait_seconds(error: ProviderUnavailable, retry: int, settings: Settings, share: float) -> float:
    """Somewhere (`share`, from 0 to 1) up to the backoff, which doubles: workers that failed together come back apart.

    What the provider asks for comes on top of it, and both together have a bound: a person waits.
    """
    backoff = settings.provider_backoff_seconds * 2.0 ** min(retry, _DOUBLINGS_MAX)
    asked = error.retry_after_seconds or 0.0
    return min(settings.provider_backoff_max_seconds, asked + share * backoff)
