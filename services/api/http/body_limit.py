"""A bound on bodies, counted as they come in: what is too large is refused before it is in memory."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api.http.problems import Refused


class BodyLimit:
    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await self._refused().response()(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            """Raises in whoever reads the body: FastAPI answers an `HTTPException` that comes to it there."""
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_bytes:
                raise self._refused()
            return message

        await self._app(scope, counted, send)

    def _refused(self) -> Refused:
        return Refused("body-too-large", f"A body may have at most {self._max_bytes} bytes.")
