"""An HTTP response that is a stream of events, and that can break off without pretending to have ended."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.api.streaming.streams import StreamBroken

HEADERS = {
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx: pass each event on at once
}


class EventStream(Response):
    """`source` raising `StreamBroken` cuts the connection: the client sees a broken body, never a clean end."""

    media_type = "text/event-stream"

    def __init__(
        self,
        first: bytes,
        source: AsyncIterator[bytes],
        status_code: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(status_code=status_code, headers=HEADERS | (headers or {}))
        del self.headers["content-length"]
        self._first = first
        self._source = source

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        copying = asyncio.create_task(self._copy(send))
        leaving = asyncio.create_task(_disconnected(receive))
        try:
            await asyncio.wait([copying, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (copying, leaving):
                task.cancel()
            await asyncio.wait([copying, leaving])
        if not copying.cancelled():
            copying.result()

    async def _copy(self, send: Send) -> None:
        """Returning without the last body message makes the server cut the connection: that is how a stream breaks off."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._first:
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
        with contextlib.suppress(StreamBroken):
            async with contextlib.aclosing(self._source) as source:  # type: ignore[type-var] # it is a generator
                async for chunk in source:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    with contextlib.suppress(HTTPException):  # its body is too large: it is as if it had left
        while (await receive())["type"] != "http.disconnect":
            pass
