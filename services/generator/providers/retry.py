"""Retries a provider that is overloaded or unreachable: before the first delta, never after it."""

import asyncio
import random as random_
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from services.generator import metrics
from services.generator.providers import Delta, Finished, Prompt, Provider
from shared.backoff import backoff_seconds
from shared.domain.errors import ProviderUnavailable
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)


async def stream_with_retries(
    provider: Provider,
    prompt: Prompt,
    settings: Settings,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = random_.random,
) -> AsyncGenerator[Delta | Finished, None]:
    """Yields from `provider.stream`, with up to `provider_retries_max` retries after `ProviderUnavailable`."""
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
    """Returns `share` (random, from 0 to 1) of the backoff, which doubles with each retry: workers that failed
    together retry at different times.

    The provider's `retry-after` is added, and the sum is limited, because a person waits.
    """
    longest = settings.provider_backoff_max_seconds
    backoff = backoff_seconds(
        retry + 1, first_seconds=settings.provider_backoff_seconds, longest_seconds=longest
    )
    return min(longest, (error.retry_after_seconds or 0.0) + share * backoff)
