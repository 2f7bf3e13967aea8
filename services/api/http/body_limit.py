"""Limits the size of request bodies while they arrive, so that a large body is rejected before it is in memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.http.problems import Refused


class BodyLimit:
    """ASGI middleware: answers a body of more than `max_bytes` with 413. The app owns it."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refusal().response()(scope, receive, send)
            return
        seen = 0

        async def receive_within_limit() -> Message:
            """Raises `Refused` in the code that reads the body, where FastAPI turns it into the response."""
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise self._refusal()
            return message

        await self._app(scope, receive_within_limit, send)

    def _refusal(self) -> Refused:
        return Refused("body-too-large", f"The body exceeds {self._max_bytes} bytes. Send a smaller one.")
