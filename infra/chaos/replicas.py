"""Calls as the contract lets clients make them: on any replica, and again by the same id until one answers."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from infra.chaos.witness import RIGHT_WITHIN_SECONDS, Call, CallKind, Witness

PATIENCE_SECONDS = 3.0
"""For the head of a response; after it the next replica is asked."""
IDLE_SECONDS = 20.0
"""Of a stream: a sign of life comes each 15 s."""
FIRST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 1.0
_OWN_FAULT = 500
_BUSY = frozenset({429, 500, 502, 503, 504})


class Refused(Exception):
    """A decided no."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(
            f"{response.request.method} {response.url.path}: {response.status_code} {response.text}"
        )
        self.status = response.status_code


class Replicas:
    """All API replicas, as one client has them. It stays with one for as long as that answers."""

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
        """Until a replica gives an answer that is `right`. Raises `Refused`."""
        began, waiting = _now(), _Waiting()
        while True:
            response = await self._try(kind, method, path, right, **request)
            if response is not None:
                self._note(self._witness.operations, kind, began, right=response.status_code in right)
                if response.status_code in right:
                    return response
                raise Refused(response)
            self._turn += 1
            await waiting.wait()

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
        self._note(
            self._witness.calls, kind, began, right=response is not None and response.status_code in right
        )
        self._check_not_ours(response)
        return None if response is None or response.status_code in _BUSY else response

    @contextlib.asynccontextmanager
    async def stream(self, answer: str, cursor: str | None) -> AsyncIterator[httpx.Response | None]:
        """One try. None: it failed, and the next try goes to the next replica. Raises `Refused` for a decided no."""
        headers = {"last-event-id": cursor} if cursor else {}
        request = self._client_now.build_request("GET", f"/v1/answers/{answer}/stream", headers=headers)
        began, response = _now(), None
        with contextlib.suppress(httpx.TransportError, TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                response = await self._client_now.send(request, stream=True)
        right = response is not None and response.status_code in {200, 204, 404}
        self._note(self._witness.calls, "stream", began, right=right)
        self._check_not_ours(response)
        if response is None:
            self._turn += 1
            yield None
            return
        self._open.add(response)
        try:
            yield await self._decided(response)
        finally:
            self._open.discard(response)
            await response.aclose()

    async def _decided(self, response: httpx.Response) -> httpx.Response | None:
        if response.status_code in {200, 204}:
            return response
        self._turn += 1
        with contextlib.suppress(httpx.TransportError):
            await response.aread()
            if response.status_code not in _BUSY:
                raise Refused(response)
        return None

    def _check_not_ours(self, response: httpx.Response | None) -> None:
        """A server that knows that something is away says so, and when to come again; 500 is a fault of its own."""
        if response is not None and response.status_code == _OWN_FAULT:
            self._witness.found("wrong", f"{response.request.method} {response.url.path}: {_OWN_FAULT}")

    def move_on(self) -> None:
        self._turn += 1

    def cut(self) -> int:
        """As when the network goes: both ends of every open stream see a closed connection. How many there were."""
        for response in self._open:
            connection = response.extensions["network_stream"].get_extra_info("socket")
            with contextlib.suppress(OSError, AttributeError):
                connection.shutdown(socket.SHUT_RDWR)
        return len(self._open)

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    @property
    def _client_now(self) -> httpx.AsyncClient:
        return self._clients[self._turn % len(self._clients)]

    def _note(self, where: list[Call], kind: CallKind, began: float, *, right: bool) -> None:
        seconds = _now() - began
        where.append(Call(kind, began, seconds, right and seconds <= RIGHT_WITHIN_SECONDS))


class _Waiting:
    """Once at once, then longer and longer."""

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
