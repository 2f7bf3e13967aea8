"""The transport of httpx over aiohttp, whose parser is native code: a token costs a quarter of the processor time.

httpx stays the interface to providers: its URLs, headers, authorization, decoding and errors.
"""

import asyncio
import contextlib
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import httpx

_HEAD_LINE_MAX_BYTES = 64 * 1024
"""Limit for one line of a reply's head: some gateways send long policies and cookies."""

_ERRORS: tuple[tuple[type[Exception], type[httpx.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (TimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.InvalidURL, httpx.UnsupportedProtocol),
    (aiohttp.ClientOSError, httpx.ReadError),
    (aiohttp.ClientError, httpx.RemoteProtocolError),
    (OSError, httpx.ReadError),
)
"""Errors of aiohttp with their counterparts, the most specific first."""


def make_transport(host: str, *, bypass_proxy: bool, limits: httpx.Limits) -> httpx.AsyncBaseTransport | None:
    """Returns the transport for a host, or None where the environment names a proxy for it, which httpx handles."""
    if not bypass_proxy and urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return None
    return Transport(limits)


class Transport(httpx.AsyncBaseTransport):
    """Sends requests over a pool of connections of its own. The client owns it and closes it.

    Raises httpx's `TransportError` for every failure. A body that is closed before its end closes its socket.
    """

    def __init__(self, limits: httpx.Limits) -> None:
        self._limits = limits
        self._tls = httpx.create_ssl_context()
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        """One whose connections are kept for further requests, and one whose connections are not."""
        self._in_progress = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # aiohttp keeps every connection: beyond the limit, requests get one that it does not keep.
        session = self._open_session(keep=self._in_progress < (self._limits.max_keepalive_connections or 0))
        timeout = request.extensions.get("timeout", {})
        self._in_progress += 1
        try:
            with _translated():
                response = await session.request(
                    request.method,
                    str(request.url),
                    headers=[(name.decode(), value.decode("latin-1")) for name, value in request.headers.raw],
                    data=await request.aread() or None,
                    allow_redirects=False,
                    auto_decompress=False,
                    timeout=aiohttp.ClientTimeout(
                        total=None, sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                    ),
                    max_line_size=_HEAD_LINE_MAX_BYTES,
                    max_field_size=_HEAD_LINE_MAX_BYTES,
                )
        except BaseException:
            self._in_progress -= 1
            raise
        body = _Body(response, timeout.get("read"), self._leave)
        return httpx.Response(
            response.status, headers=list(response.raw_headers), stream=body, request=request
        )

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def _leave(self) -> None:
        self._in_progress -= 1

    def _open_session(self, *, keep: bool) -> aiohttp.ClientSession:
        """Returns the session. It is made at its first request, since it belongs to the running event loop."""
        if keep not in self._sessions:
            connector = aiohttp.TCPConnector(
                limit=self._limits.max_connections or 0,
                keepalive_timeout=self._limits.keepalive_expiry if keep else None,
                force_close=not keep,
                ssl=self._tls,
            )
            # The address of a provider is its own: no cookies, no credentials of this machine's user.
            self._sessions[keep] = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._sessions[keep]


class _Body(httpx.AsyncByteStream):
    """The bytes of a response as they arrive: what came in together is one chunk."""

    def __init__(
        self, response: aiohttp.ClientResponse, idle_seconds: float | None, closed: Callable[[], None]
    ) -> None:
        self._response = response
        self._idle_seconds = idle_seconds
        self._closed = closed

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._response.content
        with _translated():
            try:
                while chunk := await self._read():
                    yield chunk
            except (aiohttp.ClientError, OSError):
                # aiohttp reports a failure before the bytes that came in front of it, which are text of the answer.
                while content._size:  # noqa: SLF001 - there is no public way to them
                    yield content._read_nowait_chunk(-1)  # noqa: SLF001
                raise

    async def _read(self) -> bytes:
        # aiohttp's own limit does not hold after bad framing, at which its reader waits for ever.
        async with asyncio.timeout(self._idle_seconds):
            return await self._response.content.readany()

    async def aclose(self) -> None:
        """Closes the response; httpx calls it once for each."""
        self._closed()
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:  # a TimeoutError is an OSError
        kind = next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))
        # `from None`: the cause references the request, which holds the key.
        raise kind(str(error) or type(error).__name__) from None
