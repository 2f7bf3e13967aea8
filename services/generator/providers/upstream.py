"""The connection to a provider: the only module here that speaks HTTP.

The law of this file: whatever goes wrong becomes a `ProviderError`; no exception that leaves it carries
the request, since that holds the key; and a body that is not read to its end closes its socket.
"""

import asyncio
import contextlib
import ipaddress
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from datetime import UTC, datetime

import httpx

from services.generator.providers import complaints
from shared.domain.errors import (
    ConfigurationError,
    ProviderError,
    ProviderInterrupted,
    ProviderRefused,
    ProviderUnavailable,
)
from shared.domain.events import Json
from shared.settings import Settings

COMPLAINT_MAX_BYTES = 64 * 1024
LIST_MAX_BYTES = 8 * 1024 * 1024
IDLE_CONNECTIONS_MAX = 32
"""Kept open for the next answer. Connections in use are bounded by `answers_in_flight_max`."""
IDLE_CONNECTION_SECONDS = 30.0
"""Less than common servers keep theirs: one that they close as we send costs a retry."""
DRAIN_SECONDS = 0.1
"""How long the end of a finished stream is waited for, so that its connection can be used again."""


class Key:
    """A provider's key, that no `repr`, log or traceback shows."""

    def __init__(self, value: str) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ConfigurationError("a provider's key has characters that no HTTP header can hold")
        self._value = value

    def __repr__(self) -> str:
        return "Key(...)"

    def reveal(self) -> str:
        return self._value


class _Authorization(httpx.Auth):
    """Sets the key at the last moment: no `Headers` of ours ever holds it."""

    def __init__(self, header: str, prefix: str, key: Key) -> None:
        self._header, self._prefix, self._key = header, prefix, key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._header] = self._prefix + self._key.reveal()
        yield request


class Upstream:
    """One provider's address, key and connections."""

    def __init__(
        self,
        base_url: str,
        settings: Settings,
        *,
        key: Key | None = None,
        key_header: str = "authorization",
        key_prefix: str = "Bearer ",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        url = _checked(base_url)
        self.host = url.host
        self._key = key
        self._settings = settings
        idle = settings.provider_idle_seconds
        connect = settings.provider_connect_seconds
        try:
            self._client = httpx.AsyncClient(
                base_url=url,
                auth=_Authorization(key_header, key_prefix, key) if key else None,
                # Compression would only make proxies hold tokens back.
                headers={"user-agent": "unspool", "accept-encoding": "identity"} | dict(headers or {}),
                # The idle timeout counts from byte to byte: there is no total deadline.
                timeout=httpx.Timeout(idle, connect=connect, pool=connect),
                limits=httpx.Limits(
                    max_connections=None,
                    max_keepalive_connections=IDLE_CONNECTIONS_MAX,
                    keepalive_expiry=IDLE_CONNECTION_SECONDS,
                ),
                # Proxies and certificates by the usual variables; but no proxy knows this machine's own servers.
                mounts=_NO_PROXY if _is_loopback(url.host) else None,
            )
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            raise ConfigurationError(f"cannot set up connections to {url.host}: {error}") from error

    @contextlib.asynccontextmanager
    async def post(self, path: str, body: Json) -> AsyncIterator["Reply"]:
        """A reply whose status is 200. Leaving the context closes the socket, unless all was read."""
        # What cannot be encoded is replaced: a prompt is never lost for half a surrogate pair.
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        async with contextlib.AsyncExitStack() as stack:
            with self._translated(begun=False):
                response = await stack.enter_async_context(
                    self._client.stream("POST", path, content=content, headers=_JSON)
                )
            if response.status_code != httpx.codes.OK:
                raise await self._complaint(response)
            chunks = await stack.enter_async_context(contextlib.aclosing(_bytes(response)))
            if response.headers.get("content-type", "").startswith("text/html"):
                raise ProviderRefused(
                    "A web page came in place of an answer: base_url may be wrong.", status=200
                )
            yield Reply(chunks, lambda: self._translated(begun=True))

    async def get(self, path: str) -> object:
        """A JSON document, within `provider_connect_seconds` in all: lists are short, and nobody waits for them."""
        try:
            async with asyncio.timeout(self._settings.provider_connect_seconds):
                return await self._got(path)
        except TimeoutError:
            raise ProviderUnavailable("The provider did not answer in time.") from None

    def in_stream(self, found: object, *, begun: bool) -> ProviderError:
        """The error for an error object in a stream, without the key."""
        return complaints.in_stream(found, begun=begun, key=self._revealed())

    async def close(self) -> None:
        await self._client.aclose()

    async def _got(self, path: str) -> object:
        with self._translated(begun=False):
            async with self._client.stream("GET", path) as response:
                if response.status_code != httpx.codes.OK:
                    raise await self._complaint(response)
                body = await _bounded(response, LIST_MAX_BYTES)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ProviderUnavailable("The provider's list is not JSON.") from None

    async def _complaint(self, response: httpx.Response) -> ProviderError:
        body = b""
        # The status says enough when its text does not come.
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(self._settings.provider_connect_seconds):
                body = await _bounded(response, COMPLAINT_MAX_BYTES)
        return complaints.from_status(
            response.status_code, response.headers, body, key=self._revealed(), now=datetime.now(UTC)
        )

    @contextlib.contextmanager
    def _translated(self, *, begun: bool) -> Generator[None, None, None]:
        # `from None` and text of our own: the cause holds the request, its headers and so the key, and a
        # log that prints the locals of a traceback would show it.
        try:
            yield
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            seconds = self._settings.provider_connect_seconds
            raise ProviderUnavailable(f"No connection to {self.host} within {seconds:g} seconds.") from None
        except httpx.TimeoutException:
            # Never `ProviderUnavailable`: after so long a silence the model may be at work, and a retry doubles it.
            seconds = self._settings.provider_idle_seconds
            raise ProviderInterrupted(f"The provider was silent for {seconds:g} seconds.") from None
        except httpx.HTTPError as error:
            what = complaints.detail_of(str(error) or type(error).__name__, key=self._revealed())
            if begun:
                raise ProviderInterrupted(f"The provider's stream broke off: {what}") from None
            raise ProviderUnavailable(f"No answer from {self.host}: {what}") from None

    def _revealed(self) -> str | None:
        return self._key.reveal() if self._key else None


class Reply:
    """The body of an answer, as it comes in."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        translated: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._chunks = chunks
        self._translated = translated

    async def read(self, within_seconds: float | None = None) -> bytes:
        """The next bytes; none at the end. Raises `ProviderInterrupted` on a cut, and when nothing comes in time."""
        try:
            with self._translated():
                async with asyncio.timeout(within_seconds):
                    return await anext(self._chunks, b"")
        except TimeoutError:
            raise ProviderInterrupted(f"The provider was silent for {within_seconds:g} seconds.") from None

    async def drain(self) -> None:
        """Reads the empty rest of a stream whose end has come: only then its connection is used again."""
        with contextlib.suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self.read():
                    pass


def versioned(base_url: str) -> str:
    """With the `/v1` that people leave out as often as not."""
    base_url = base_url.rstrip("/")
    return base_url if base_url.endswith("/v1") else f"{base_url}/v1"


_NO_PROXY: Mapping[str, None] = {"all://": None, "http://": None, "https://": None}
_JSON = {"content-type": "application/json", "accept": "text/event-stream, application/json"}


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/") + "/")
    except httpx.InvalidURL as error:
        shown = re.sub("//.*@", "//...@", base_url)
        raise ConfigurationError(f"base_url {shown!r} is no URL: {error}") from None
    if url.userinfo:
        raise ConfigurationError(f"base_url of {url.host}: name the key by api_key_env, not in the URL")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"base_url {base_url!r} must begin with http:// or https:// and a host")
    if url.query or url.fragment:
        raise ConfigurationError(f"base_url {base_url!r}: paths are added to it, so it must not have a query")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _bytes(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for chunk in response.aiter_bytes():
        if chunk:  # an empty one would be taken for the end
            yield chunk


async def _bounded(response: httpx.Response, max_bytes: int) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            break
    return body[:max_bytes]
