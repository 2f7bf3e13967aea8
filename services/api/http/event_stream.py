"""An HTTP response of server-sent events that can break off without a clean end."""

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
    """Sends `first`, then all of `source`, and closes `source` when the client leaves.

    If `source` raises `StreamBroken`, the connection is cut: the client sees a broken body, never a clean end.
    """

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
        copy = asyncio.create_task(self._copy(send))
        disconnect = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait([copy, disconnect], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (copy, disconnect):
                task.cancel()
            await asyncio.wait([copy, disconnect])
        if not copy.cancelled():
            copy.result()

    async def _copy(self, send: Send) -> None:
        """Sends the response. On `StreamBroken` it omits the last body message: the server then cuts the connection."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._first:
            await send({"type": "http.response.body", "body": self._first, "more_body": True})
        with contextlib.suppress(StreamBroken):
            async with contextlib.aclosing(self._source) as source:  # type: ignore[type-var] # it is a generator
                async for chunk in source:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _wait_for_disconnect(receive: Receive) -> None:
    with contextlib.suppress(HTTPException):  # A body that is too large ends the stream like a disconnect.
        while (await receive())["type"] != "http.disconnect":
            pass
