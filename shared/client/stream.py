"""Following an answer through any number of connections, from its beginning or a cursor to its end.

The law of this file: only `done` ends a stream (or `204`: there is nothing more). Everything else is an
interruption, after which the next server is asked for what comes after the last event that was had.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from urllib.parse import quote

import httpx
from msgspec import Struct

from shared.client.errors import ContractBroken, Unreachable
from shared.client.events import Breach, Done, StreamEvent, decode
from shared.client.patience import Backoff
from shared.client.position import Position
from shared.client.servers import TRY_AGAIN, Servers, reason, refused
from shared.retry_after import retry_after_seconds
from shared.sse_decoder import EventTooLong, SseDecoder

MEDIA_TYPE = "text/event-stream"


class Connected(Struct, frozen=True):
    url: str


class Interrupted(Struct, frozen=True):
    """The next try is made after so many seconds."""

    url: str
    why: str
    wait_seconds: float


Connection = Connected | Interrupted


class AnswerStream:
    """One reader of one answer. `watch` is told of each connection, and of each interruption."""

    def __init__(
        self,
        servers: Servers,
        answer: str,
        after: str | None,
        give_up_after_seconds: float | None,
        watch: Callable[[Connection], None] | None,
    ) -> None:
        self._servers = servers
        self._path = f"/v1/answers/{quote(answer, safe='')}/stream"
        self._give_up_after_seconds = give_up_after_seconds
        self._watch = watch or _nobody
        self._position = Position(after)
        self._backoff = Backoff(servers.patience)
        self._breaches = 0
        self._url = ""
        self._heard_at = 0.0
        self._at_end = False

    async def events(self) -> AsyncGenerator[StreamEvent, None]:
        self._heard_at = _now()
        while not self._at_end:
            try:
                async with contextlib.aclosing(self._connection()) as events:
                    async for event in events:
                        yield event
            except _Broken as broken:
                await self._interrupted(broken)

    async def _connection(self) -> AsyncGenerator[StreamEvent, None]:
        """What one connection brings that is new. Raises `_Broken` unless it brings the end."""
        cursor = self._position.cursor
        headers = {"accept": MEDIA_TYPE, "accept-encoding": "identity"}
        if cursor:
            headers["last-event-id"] = cursor
        self._url = self._servers.url
        try:
            async with self._servers.http.stream("GET", self._url + self._path, headers=headers) as response:
                if not await self._opened(response):
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

    async def _opened(self, response: httpx.Response) -> bool:
        """Whether there is something to read. Raises `Refused`, or `_Broken` where another try may succeed."""
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

    async def _new_events(self, response: httpx.Response) -> AsyncGenerator[StreamEvent, None]:
        decoder, began = SseDecoder(), _now()
        async for chunk in response.aiter_bytes():
            self._heard_at = _now()
            if self._heard_at - began > self._servers.patience.longest_wait_seconds:
                self._backoff.succeeded()  # a quiet answer, on a connection that holds
            for frame in decoder.feed(chunk):
                event = decode(frame)
                if event is None or not self._position.take(event):
                    continue
                self._breaches = 0
                self._backoff.succeeded()
                self._at_end = isinstance(event, Done)
                yield event
                if self._at_end:
                    return
            if decoder.retry_milliseconds is not None:
                self._backoff.asked_for(decoder.retry_milliseconds)

    async def _interrupted(self, broken: "_Broken") -> None:
        """Waits before the next try. Raises when there is to be none."""
        if self._breaches > self._servers.patience.breaches_max:
            raise ContractBroken(f"{self._url}: {broken}") from broken
        wait = self._backoff.next_wait_seconds(broken.retry_after_seconds)
        patience = self._give_up_after_seconds
        if patience is not None and _now() + wait > self._heard_at + patience:
            raise Unreachable(f"{self._url}: {broken}") from broken
        self._watch(Interrupted(self._url, str(broken), wait))
        self._servers.move_on(self._url)
        await asyncio.sleep(wait)


class _Broken(Exception):
    """A connection that did not bring the end."""

    def __init__(self, why: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds


def _now() -> float:
    return asyncio.get_running_loop().time()


def _nobody(_connection: Connection) -> None:
    pass
