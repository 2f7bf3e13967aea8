"""The HTTP connection to a provider. No other module of the providers uses HTTP.

Invariants: every failure becomes a `ProviderError`; no exception that leaves this module references the
request, which holds the key; a body that is not read to its end closes its socket.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from datetime import UTC, datetime

import httpx

from services.generator.providers import provider_errors
from services.generator.providers.transport import make_transport
from shared.domain.errors import (
    ConfigurationError,
    ProviderError,
    ProviderInterrupted,
    ProviderRefused,
    ProviderUnavailable,
)
from shared.domain.events import Json
from shared.hosts import is_loopback
from shared.settings import Settings

ERROR_BODY_MAX_BYTES = 64 * 1024
LIST_MAX_BYTES = 8 * 1024 * 1024
IDLE_CONNECTIONS_MAX = 32
"""Connections kept open for reuse. `answers_in_flight_max` limits the connections in use."""
IDLE_CONNECTION_SECONDS = 30.0
"""Less than common servers use: a connection that the server closes while we send costs a retry."""
DRAIN_SECONDS = 0.1
"""Time limit to read the end of a finished stream, so that its connection can be reused."""


class Key:
    """A provider's key, which no `repr`, log or traceback shows. Raises `ConfigurationError` if it is not printable."""

    def __init__(self, value: str) -> None:
        if not re.fullmatch(r"[\x21-\x7e]+", value):
            raise ConfigurationError("the provider's key contains characters that an HTTP header cannot hold")
        self._value = value

    def __repr__(self) -> str:
        return "Key(...)"

    def reveal(self) -> str:
        return self._value


class _Authorization(httpx.Auth):
    """Adds the key when the request is sent, so that none of our `Headers` holds it."""

    def __init__(self, header: str, prefix: str, key: Key) -> None:
        self._header, self._prefix, self._key = header, prefix, key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._header] = self._prefix + self._key.reveal()
        yield request


class Upstream:
    """The address, key and connection pool of one provider, which owns and closes it."""

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
        url = _check_url(base_url)
        self.host = url.host
        self._key = key
        self._settings = settings
        idle = settings.provider_idle_seconds
        connect = settings.provider_connect_seconds
        limits = httpx.Limits(
            max_connections=None,
            max_keepalive_connections=IDLE_CONNECTIONS_MAX,
            keepalive_expiry=IDLE_CONNECTION_SECONDS,
        )
        try:
            self._client = httpx.AsyncClient(
                base_url=url,
                auth=_Authorization(key_header, key_prefix, key) if key else None,
                # Compression makes some proxies buffer tokens.
                headers={"user-agent": "unspool", "accept-encoding": "identity"} | dict(headers or {}),
                # The idle timeout restarts with each byte: there is no total deadline.
                timeout=httpx.Timeout(idle, connect=connect, pool=connect),
                limits=limits,
                # Proxies and certificates come from the environment. Servers on loopback bypass the proxy.
                transport=make_transport(url.host, bypass_proxy=is_loopback(url.host), limits=limits),
            )
        except (ImportError, OSError, ValueError, httpx.InvalidURL) as error:
            raise ConfigurationError(f"cannot set up connections to {url.host}: {error}") from error

    @contextlib.asynccontextmanager
    async def post(self, path: str, body: Json) -> AsyncIterator["Reply"]:
        """Sends the request and yields the reply, whose status is 200. Raises `ProviderUnavailable`, `ProviderRefused`
        or `ProviderInterrupted`. Leaving the context closes the socket, unless the body was read to its end.
        """
        # Replace lone surrogates, so that a prompt with one can be sent.
        content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        async with contextlib.AsyncExitStack() as stack:
            with self._translate_errors(begun=False):
                response = await stack.enter_async_context(
                    self._client.stream("POST", path, content=content, headers=_JSON)
                )
            if response.status_code != httpx.codes.OK:
                raise await self._read_error(response)
            chunks = await stack.enter_async_context(contextlib.aclosing(_iterate_bytes(response)))
            if response.headers.get("content-type", "").startswith("text/html"):
                raise ProviderRefused("The provider responded with a web page. Check base_url.", status=200)
            yield Reply(chunks, lambda: self._translate_errors(begun=True))

    async def get(self, path: str) -> object:
        """Returns a JSON document. Raises `ProviderUnavailable` after `provider_connect_seconds` in total."""
        try:
            async with asyncio.timeout(self._settings.provider_connect_seconds):
                return await self._fetch(path)
        except TimeoutError:
            raise ProviderUnavailable("The provider did not respond in time.") from None

    def error_in_stream(self, found: object, *, begun: bool) -> ProviderError:
        """Returns the error for an error object in a stream, without the key."""
        return provider_errors.error_in_stream(found, begun=begun, key=self._reveal_key())

    async def close(self) -> None:
        await self._client.aclose()

    async def _fetch(self, path: str) -> object:
        with self._translate_errors(begun=False):
            async with self._client.stream("GET", path) as response:
                if response.status_code != httpx.codes.OK:
                    raise await self._read_error(response)
                body = await _read_bounded(response, LIST_MAX_BYTES)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            raise ProviderUnavailable("The provider's list is not JSON.") from None

    async def _read_error(self, response: httpx.Response) -> ProviderError:
        body = b""
        # The status alone is enough if the body does not arrive.
        with contextlib.suppress(httpx.HTTPError, TimeoutError):
            async with asyncio.timeout(self._settings.provider_connect_seconds):
                body = await _read_bounded(response, ERROR_BODY_MAX_BYTES)
        return provider_errors.error_from_status(
            response.status_code, response.headers, body, key=self._reveal_key(), now=datetime.now(UTC)
        )

    @contextlib.contextmanager
    def _translate_errors(self, *, begun: bool) -> Generator[None, None, None]:
        # Use `from None` and our own text: the cause references the request and so the key, which a log that
        # prints the locals of a traceback would show.
        try:
            yield
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            seconds = self._settings.provider_connect_seconds
            raise ProviderUnavailable(f"No connection to {self.host} within {seconds:g} seconds.") from None
        except httpx.TimeoutException:
            # Not `ProviderUnavailable`: the model may still be generating, and a retry would double its cost.
            seconds = self._settings.provider_idle_seconds
            raise ProviderInterrupted(f"The provider sent nothing for {seconds:g} seconds.") from None
        except httpx.HTTPError as error:
            reason = provider_errors.detail_of(str(error) or type(error).__name__, key=self._reveal_key())
            if begun:
                raise ProviderInterrupted(f"The provider's stream broke off: {reason}") from None
            raise ProviderUnavailable(f"No response from {self.host}: {reason}") from None

    def _reveal_key(self) -> str | None:
        return self._key.reveal() if self._key else None


class Reply:
    """The body of a reply, read in chunks. `Upstream.post` owns it: it is valid inside that context."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        translated: Callable[[], contextlib.AbstractContextManager[None]],
    ) -> None:
        self._chunks = chunks
        self._translate_errors = translated

    async def read(self, within_seconds: float | None = None) -> bytes:
        """Returns the next bytes, or b'' at the end. Raises `ProviderInterrupted` if the connection breaks or no
        bytes arrive in time.
        """
        try:
            with self._translate_errors():
                async with asyncio.timeout(within_seconds):
                    return await anext(self._chunks, b"")
        except TimeoutError:
            raise ProviderInterrupted(f"The provider sent nothing for {within_seconds:g} seconds.") from None

    async def drain(self) -> None:
        """Reads the rest of a finished stream for up to `DRAIN_SECONDS`, so that its connection can be reused."""
        with contextlib.suppress(ProviderError, TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self.read():
                    pass


def with_version(base_url: str) -> str:
    """Appends `/v1` if it is missing."""
    base_url = base_url.rstrip("/")
    return base_url if base_url.endswith("/v1") else f"{base_url}/v1"


_JSON = {"content-type": "application/json", "accept": "text/event-stream, application/json"}


def _check_url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.rstrip("/") + "/")
    except httpx.InvalidURL as error:
        shown = re.sub("//.*@", "//...@", base_url)
        raise ConfigurationError(f"base_url {shown!r} is not a valid URL: {error}") from None
    if url.userinfo:
        raise ConfigurationError(f"base_url of {url.host} contains a key: set api_key_env instead")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigurationError(f"base_url {base_url!r} must begin with http:// or https:// and a host")
    if url.query or url.fragment:
        raise ConfigurationError(f"base_url {base_url!r} must not have a query: paths are appended to it")
    return url


async def _iterate_bytes(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    async for chunk in response.aiter_bytes():
        if chunk:  # An empty chunk would mean the end.
            yield chunk


async def _read_bounded(response: httpx.Response, max_bytes: int) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > max_bytes:
            break
    return body[:max_bytes]
