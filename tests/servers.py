"""Real NATS and Postgres for tests, on free ports and data of their own; they can be killed and started again."""

from infra.fleet import NatsProcess, PostgresProcess, ServerProcess, free_port, temporary_data

__all__ = ["NatsProcess", "PostgresProcess", "ServerProcess", "free_port", "temporary_data"]
