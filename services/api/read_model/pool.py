"""The connections to Postgres of one process."""

import asyncpg

from shared.domain.errors import ConfigurationError
from shared.settings import Settings


def make_pool(settings: Settings) -> asyncpg.Pool:
    """Connects when it is first used: the API starts, and streams, without Postgres."""
    try:
        return asyncpg.create_pool(
            settings.postgres_url,
            min_size=0,
            max_size=settings.postgres_pool_max,
            timeout=settings.postgres_timeout_seconds,
            command_timeout=settings.postgres_timeout_seconds,
        )
    except (ValueError, asyncpg.InterfaceError) as error:
        raise ConfigurationError(f"settings: postgres_url: {error}") from error
