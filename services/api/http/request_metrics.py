"""Requests, counted where they pass: by route, never by path, when their response begins.

Nothing is held up or copied: a stream's writes go through one plain call, which after the first byte only hands on.
"""

import time
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.api import metrics
from shared.domain import subjects
from shared.logging import bind

_METHODS = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}
_FAULT, _LEFT = 500, 499
"""499, as nginx has it: the client went before there was an answer."""


class RequestMetrics:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, told = _LEFT, False

        def measured(message: Message) -> Awaitable[None]:
            nonlocal status, told
            if not told:
                if message["type"] == "http.response.start":
                    status = message["status"]
                else:
                    told = True
                    _tell(scope, status, time.perf_counter() - began)
            return send(message)

        try:
            await self._app(scope, receive, measured)
        except Exception:
            status = _FAULT
            _bind_ids(scope)
            raise
        finally:
            if not told:
                _tell(scope, status, time.perf_counter() - began)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in _METHODS else "other"
    route = getattr(scope.get("route"), "path", "none")
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.FIRST_BYTE.labels(method, route).observe(seconds)


def _bind_ids(scope: Scope) -> None:
    """For the server's own line about a fault. What a client wrote in their place is not repeated."""
    named = scope.get("path_params", {})
    chat, answer = str(named.get("chat", "")), str(named.get("answer", ""))
    bind(route=getattr(scope.get("route"), "path", "none"))
    if subjects.is_answer_id(answer):
        bind(chat=subjects.chat_of(answer), answer=answer)
    elif subjects.client_id(chat):
        bind(chat=chat)
