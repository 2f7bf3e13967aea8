"""The connections of one process to NATS, and calls over them.

One connection writes and asks, another does bulk reads: on one connection they hold each other up
(docs/decisions/0009). Nothing is buffered while the broker is away: a call fails, and its caller decides.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Self
from urllib.parse import urlsplit

import nats.errors
from nats.aio.client import Client
from nats.js.manager import JetStreamManager

from shared.domain.errors import ConfigurationError, LogFull, LogUnavailable
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

RECONNECT_WAIT_SECONDS = 0.2
NATS_UNAVAILABLE = (nats.errors.Error, TimeoutError, OSError)
"""Errors of a call over a connection that failed or got no reply."""


class Connection:
    """A pair of NATS connections: `client` for appends and questions, `bulk` for reads. Owned by its `EventLog`."""

    def __init__(self, client: Client, bulk: Client, settings: Settings) -> None:
        self.client = client
        self.bulk = bulk
        self.settings = settings
        self.timeout_seconds = settings.log_timeout_seconds
        self._reconnects: list[Callable[[], None]] = []

    @classmethod
    async def open(cls, settings: Settings, name: str) -> Self:
        """Connects. Raises `LogUnavailable` if no broker responds; once connected, it reconnects without a limit."""
        connections: list[Client] = []
        try:
            connections.append(await _connect(settings, name))
            connections.append(await _connect(settings, f"{name}-bulk"))
        except NATS_UNAVAILABLE as error:
            for connection in connections:
                await connection.close()
            reason = str(error) or "no answer"
            raise LogUnavailable(f"no NATS at {_without_secrets(settings.nats_url)}: {reason}") from error
        self = cls(connections[0], connections[1], settings)

        async def notify_reconnect() -> None:
            log.info("log-reconnected")
            for tell in self._reconnects:
                tell()

        connections[1]._reconnected_cb = notify_reconnect  # noqa: SLF001 - nats-py takes it in `connect` only, before `self` is
        return self

    async def close(self) -> None:
        for connection in (self.client, self.bulk):
            await suppress_unavailable(connection.close())

    @property
    def connected(self) -> bool:
        return bool(self.client.is_connected and self.bulk.is_connected)

    def on_reconnect(self, tell: Callable[[], None]) -> None:
        self._reconnects.append(tell)

    def manager(self, client: Client | None = None) -> JetStreamManager:
        """Returns the JetStream API over a connection; by default the one that does not read in bulk."""
        return JetStreamManager(client or self.client, timeout=self.timeout_seconds)

    async def request(self, subject: str, data: bytes, headers: dict[str, str] | None) -> bytes:
        """Sends a request and returns its reply. Raises `LogFull` if it exceeds the broker's limit, or `LogUnavailable`."""
        try:
            reply = await self.client.request(subject, data, timeout=self.timeout_seconds, headers=headers)
        except nats.errors.MaxPayloadError as error:
            raise LogFull(f"{subject}: {len(data)} bytes are more than the broker takes") from error
        except NATS_UNAVAILABLE as error:
            raise LogUnavailable(f"{subject}: {error!r}") from error
        return bytes(reply.data)

    async def call(self, call: Awaitable[Any]) -> Any:  # noqa: ANN401 - nats-py's own types, as they come
        """Awaits a call of the JetStream API. Raises `LogUnavailable` in place of NATS' own errors."""
        try:
            return await call
        except NATS_UNAVAILABLE as error:
            raise LogUnavailable(f"the log did not do as asked: {reason_of(error)}") from error


class OverConnection:
    """A part of `EventLog` that works over its connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection


async def _connect(settings: Settings, name: str) -> Client:
    """Connects within `log_connect_seconds`; once connected, the client reconnects without a limit."""

    async def log_error(error: Exception) -> None:
        log.debug("nats", reason=repr(error))

    async def log_disconnect() -> None:
        if not client.is_reconnecting:  # closed by ourselves, or never connected
            return
        log.warning("log-disconnected", connection=name)

    client = Client()
    try:
        async with asyncio.timeout(settings.log_connect_seconds):
            await client.connect(
                settings.nats_url.split(","),
                name=name,
                error_cb=log_error,
                disconnected_cb=log_disconnect,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type] # it is only slept for
                pending_size=0,
                ping_interval=5,
                max_outstanding_pings=2,
                tls=_trust(settings),
            )
    except BaseException:
        await suppress_unavailable(client.close())
        raise
    return client


def _trust(settings: Settings) -> ssl.SSLContext | None:
    if not settings.nats_ca:
        return None
    try:
        return ssl.create_default_context(cafile=settings.nats_ca)
    except OSError as error:  # an SSLError is one
        raise ConfigurationError(f"settings: nats_ca: {settings.nats_ca}: {error.strerror}") from error


def _without_secrets(urls: str) -> str:
    parts = [urlsplit(url) for url in urls.split(",")]
    return ", ".join(f"{part.scheme}://{part.hostname}:{part.port or 4222}" for part in parts)


def reason_of(error: Exception) -> str:
    """Returns the broker's own description of an error, if it gave one; nats-py's text names only the class."""
    return getattr(error, "description", None) or repr(error)


async def suppress_unavailable(call: Awaitable[Any]) -> None:
    """Awaits a call whose failure does not matter: what it ends, the broker ends by itself a little later."""
    with contextlib.suppress(*NATS_UNAVAILABLE):
        await call
