"""Calls of clients by the contract: to any replica, repeated with the same id until one responds."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from infra.chaos.witness import RIGHT_WITHIN_SECONDS, Call, CallKind, Witness

PATIENCE_SECONDS = 3.0
"""Timeout for the head of a response; after it the client calls the next replica."""
IDLE_SECONDS = 20.0
"""Timeout for the next bytes of a stream, which sends a keep-alive every 15 s."""
FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0
_OWN_FAULT = 500
_BUSY = frozenset({429, 500, 502, 503, 504})


class Refused(Exception):
    """The server rejected the request; a retry cannot succeed."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(
            f"{response.request.method} {response.url.path}: {response.status_code} {response.text}"
        )
        self.status = response.status_code


class Replicas:
    """The API replicas as one client uses them: it changes the replica only after a failure. The client closes it."""

    def __init__(self, urls: Sequence[str], witness: Witness, first: int) -> None:
        self._clients = [_client(url) for url in urls]
        self._witness = witness
        self._turn = first
        self._open: set[httpx.Response] = set()

    async def call(
        self,
        kind: CallKind,
        method: str,
        path: str,
        right: frozenset[int],
        **request: Any,  # noqa: ANN401 - httpx's own options
    ) -> httpx.Response:
        """Repeats the call until a replica responds with a status in `right`. Raises `Refused` for a rejection."""
        began, backoff = _now(), _Backoff()
        while True:
            response = await self._try(kind, method, path, right, **request)
            if response is not None:
                self._record(self._witness.operations, kind, began, right=response.status_code in right)
                if response.status_code in right:
                    return response
                raise Refused(response)
            self._turn += 1
            await backoff.wait()

    async def _try(
        self,
        kind: CallKind,
        method: str,
        path: str,
        right: frozenset[int],
        **request: Any,  # noqa: ANN401 - httpx's own options
    ) -> httpx.Response | None:
        began, response = _now(), None
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                response = await self._client_now.request(method, path, **request)
        self._record(
            self._witness.calls, kind, began, right=response is not None and response.status_code in right
        )
        self._check_no_internal_error(response)
        return None if response is None or response.status_code in _BUSY else response

    @contextlib.asynccontextmanager
    async def stream(self, answer: str, cursor: str | None) -> AsyncIterator[httpx.Response | None]:
        """Yields the response of one try, or None if it failed: the next try goes to the next replica.

        Raises `Refused` for a rejection.
        """
        headers = {"last-event-id": cursor} if cursor else {}
        request = self._client_now.build_request("GET", f"/v1/answers/{answer}/stream", headers=headers)
        began, response = _now(), None
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                response = await self._client_now.send(request, stream=True)
        right = response is not None and response.status_code in {200, 204, 404}
        self._record(self._witness.calls, "stream", began, right=right)
        self._check_no_internal_error(response)
        if response is None:
            self._turn += 1
            yield None
            return
        self._open.add(response)
        try:
            yield await self._check_status(response)
        finally:
            self._open.discard(response)
            await response.aclose()

    async def _check_status(self, response: httpx.Response) -> httpx.Response | None:
        if response.status_code in {200, 204}:
            return response
        self._turn += 1
        with contextlib.suppress(httpx.TransportError):
            await response.aread()
            if response.status_code not in _BUSY:
                raise Refused(response)
        return None

    def _check_no_internal_error(self, response: httpx.Response | None) -> None:
        """Reports a 500: an unavailable dependency must lead to 503 with `Retry-After`."""
        if response is not None and response.status_code == _OWN_FAULT:
            self._witness.add_finding("wrong", f"{response.request.method} {response.url.path}: {_OWN_FAULT}")

    def use_next(self) -> None:
        """Directs the next call to the next replica."""
        self._turn += 1

    def cut(self) -> int:
        """Shuts down the connection of every open stream, as a network failure does. Returns their number."""
        for response in self._open:
            connection = response.extensions["network_stream"].get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                connection.shutdown(socket.SHUT_RDWR)
        return len(self._open)

    async def close(self) -> None:
        """Closes the connections to all replicas."""
        for client in self._clients:
            await client.aclose()

    @property
    def _client_now(self) -> httpx.AsyncClient:
        return self._clients[self._turn % len(self._clients)]

    def _record(self, where: list[Call], kind: CallKind, began: float, *, right: bool) -> None:
        seconds = _now() - began
        where.append(Call(kind, began, seconds, right and seconds <= RIGHT_WITHIN_SECONDS))


class _Backoff:
    """Waits 0 seconds the first time, then doubles the time up to its limit."""

    def __init__(self) -> None:
        self._seconds = 0.0

    async def wait(self) -> None:
        await asyncio.sleep(self._seconds)
        self._seconds = min(max(FIRST_WAIT_SECONDS, self._seconds * 2), LONGEST_WAIT_SECONDS)


def _client(url: str) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
    timeout = httpx.Timeout(PATIENCE_SECONDS, read=IDLE_SECONDS, pool=None)
    return httpx.AsyncClient(base_url=url, timeout=timeout, limits=limits, trust_env=False)


def _now() -> float:
    return asyncio.get_running_loop().time()
