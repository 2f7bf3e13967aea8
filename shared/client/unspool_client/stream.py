"""Streams that resume over any number of connections, from the beginning or a cursor to the end.

Only `done` or status 204 ends a stream. Anything else is an interruption: the next server is then asked for the events
after the last received one.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

import httpx

from unspool_client.errors import ContractBroken, Unreachable
from unspool_client.events import Breach, Done, StreamEvent, decode
from unspool_client.patience import Backoff
from unspool_client.position import Position
from unspool_client.retry_after import retry_after_seconds
from unspool_client.servers import TRY_AGAIN, Servers, reason, refused
from unspool_client.sse_decoder import EventTooLong, Frame, SseDecoder

MEDIA_TYPE = "text/event-stream"
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection was opened."""

    url: str


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The connection broke. The next try follows after `wait_seconds`."""

    url: str
    why: str
    wait_seconds: float


Connection = Connected | Interrupted


class ResumingStream(ABC, Generic[E]):
    """Reads one stream over any number of connections. Owned by the call that made it; read once.

    `watch` is told of each connection, and of each interruption.
    """

    def __init__(
        self,
        servers: Servers,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        give_up_after_seconds: float | None = None,
        watch: Callable[[Connection], None] | None = None,
    ) -> None:
        self._servers = servers
        self._path = path
        self._params = params
        self._give_up_after_seconds = give_up_after_seconds
        self._watch = watch or _nobody
        self._backoff = Backoff(servers.patience)
        self._breaches = 0
        self._url = ""
        self._heard_at = 0.0
        self._at_end = False

    @abstractmethod
    def _cursor(self) -> str | None:
        """Returns the id of the last event that was had, if there is one to go on from."""

    @abstractmethod
    def _take(self, frame: Frame) -> E | None:
        """Returns the event if it is new. Raises `Breach` when one before it is missing."""

    async def events(self) -> AsyncGenerator[E, None]:
        """Yields new events, in order, until the stream ends. Raises `Refused`, `Unreachable` or `ContractBroken`."""
        self._heard_at = _now()
        while not self._at_end:
            try:
                async with contextlib.aclosing(self._connection()) as events:
                    async for event in events:
                        yield event
            except _Broken as broken:
                await self._wait_for_retry(broken)

    async def _connection(self) -> AsyncGenerator[E, None]:
        """Yields the new events of one connection. Raises `_Broken` if it ends before the stream does."""
        cursor = self._cursor()
        headers = {"accept": MEDIA_TYPE, "accept-encoding": "identity"}
        if cursor:
            headers["last-event-id"] = cursor
        self._url = self._servers.url
        try:
            async with self._servers.http.stream(
                "GET", self._url + self._path, headers=headers, params=self._params
            ) as response:
                if not await self._check_response(response):
                    return
                self._watch(Connected(self._url))
                async with contextlib.aclosing(self._new_events(response)) as events:
                    async for event in events:
                        yield event
        except httpx.RequestError as error:
            raise _Broken(reason(error)) from error
        except (Breach, EventTooLong) as error:
            self._breaches += 1
            raise _Broken(f"the stream is not in order: {error}") from error
        if not self._at_end:
            raise _Broken("the connection was closed before the end of the answer")

    async def _check_response(self, response: httpx.Response) -> bool:
        """Returns True if there are events to read. Raises `Refused`, or `_Broken` if a retry may succeed."""
        if response.status_code == httpx.codes.NO_CONTENT:
            self._at_end = True
            return False
        if response.status_code == httpx.codes.OK:
            if not response.headers.get("content-type", "").startswith(MEDIA_TYPE):
                raise Breach("a response that is not a stream of events")
            return True
        await response.aread()
        if response.is_server_error or response.status_code in TRY_AGAIN:
            asked = retry_after_seconds(response.headers)
            raise _Broken(str(refused(response)), asked)
        raise refused(response)

    async def _new_events(self, response: httpx.Response) -> AsyncGenerator[E, None]:
        decoder, began = SseDecoder(), _now()
        async for chunk in response.aiter_bytes():
            self._heard_at = _now()
            if self._heard_at - began > self._servers.patience.longest_wait_seconds:
                self._backoff.succeeded()  # a quiet answer, on a connection that holds
            for frame in decoder.feed(chunk):
                event = self._take(frame)
                if event is None:
                    continue
                self._breaches = 0
                self._backoff.succeeded()
                yield event
                if self._at_end:
                    return
            if decoder.retry_milliseconds is not None:
                self._backoff.asked_for(decoder.retry_milliseconds)

    async def _wait_for_retry(self, broken: "_Broken") -> None:
        """Waits before the next try. Raises `Unreachable` or `ContractBroken` if there is none."""
        if self._breaches > self._servers.patience.breaches_max:
            raise ContractBroken(f"{self._url}: {broken}") from broken
        wait = self._backoff.next_wait_seconds(broken.retry_after_seconds)
        patience = self._give_up_after_seconds
        if patience is not None and _now() + wait > self._heard_at + patience:
            raise Unreachable(f"{self._url}: {broken}") from broken
        self._watch(Interrupted(self._url, str(broken), wait))
        self._servers.move_on(self._url)
        await asyncio.sleep(wait)


class AnswerStream(ResumingStream[StreamEvent]):
    """Reads one answer to its end."""

    def __init__(
        self,
        servers: Servers,
        answer: str,
        after: str | None,
        give_up_after_seconds: float | None,
        watch: Callable[[Connection], None] | None,
    ) -> None:
        path = f"/v1/answers/{quote(answer, safe='')}/stream"
        super().__init__(servers, path, give_up_after_seconds=give_up_after_seconds, watch=watch)
        self._position = Position(after)

    def _cursor(self) -> str | None:
        return self._position.cursor

    def _take(self, frame: Frame) -> StreamEvent | None:
        event = decode(frame)
        if event is None or not self._position.take(event):
            return None
        self._at_end = isinstance(event, Done)
        return event


class _Broken(Exception):
    """A connection that did not bring the end."""

    def __init__(self, why: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nobody(_connection: Connection) -> None:
    pass
