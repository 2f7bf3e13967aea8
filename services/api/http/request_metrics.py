"""Counts requests by route, never by path, when the first byte of the response is sent.

The middleware copies nothing: after the first byte, each write of a stream costs one plain function call.
"""

import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api import metrics
from shared.domain import subjects
from shared.logging import bind

_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
_INTERNAL_ERROR, _CLIENT_CLOSED_REQUEST = 500, 499
"""499 is nginx's status for a client that disconnects before the response begins."""


class RequestMetrics:
    """ASGI middleware: records each request once, in `REQUESTS` and `FIRST_BYTE`. The app owns it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, recorded = _CLIENT_CLOSED_REQUEST, False

        def send_measured(message: Message) -> Awaitable[None]:
            nonlocal status, recorded
            if not recorded:
                if message["type"] == "http.response.start":
                    status = message["status"]
                else:
                    recorded = True
                    _record(scope, status, time.perf_counter() - began)
            return send(message)

        try:
            await self._app(scope, receive, send_measured)
        except Exception:
            status = _INTERNAL_ERROR
            _bind_ids(scope)
            raise
        finally:
            if not recorded:
                _record(scope, status, time.perf_counter() - began)


def _record(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    route = getattr(scope.get("route"), "path", "none")
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.FIRST_BYTE.labels(method, route).observe(seconds)


def _bind_ids(scope: Scope) -> None:
    """Binds the ids of the route to the log context, for the line about the error. Omits values that are no ids."""
    named = scope.get("path_params", {})
    chat, answer = str(named.get("chat", "")), str(named.get("answer", ""))
    bind(route=getattr(scope.get("route"), "path", "none"))
    if subjects.is_answer_id(answer):
        bind(chat=subjects.chat_of(answer), answer=answer)
    elif subjects.client_id(chat):
        bind(chat=chat)
