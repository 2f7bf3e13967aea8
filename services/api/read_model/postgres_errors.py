"""Tells errors after which a call to Postgres may be repeated from those that are a fault of the statement."""

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
    # Postgres chose this transaction to end a deadlock (a rebuild swaps its schema meanwhile): nothing of it was done.
    asyncpg.TransactionRollbackError,
)
"""For `except`: the call may be repeated later, unchanged. Any other error of a statement is not among them."""
