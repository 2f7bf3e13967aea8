"""Which errors mean that Postgres is away: what was asked may be asked again when it is back."""

import asyncpg

POSTGRES_UNAVAILABLE = (
    # asyncpg reports a connection that died during a call by errors of its own, too ("cannot switch to state ...").
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
    # Postgres starts, stops, or restarts after a crash.
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""For `except`: the server is unreachable, shuts down or starts. An error of a statement is not among them."""
