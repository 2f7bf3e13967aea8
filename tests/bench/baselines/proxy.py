"""Baseline (a), the direct proxy: `python -m tests.bench.baselines.proxy PORT PROVIDER_URL`. It stores nothing.

It is the shortest program for the task that is also fast: raw bytes pass from one open client to the response.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.background import BackgroundTask

BACKLOG = 4096
KEEP_ALIVE_SECONDS = 75


class Question(BaseModel):
    """The body of a chat completion."""

    model: str
    stream: bool
    messages: list[dict[str, Any]]


def make_app(provider_url: str) -> FastAPI:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    client = httpx.AsyncClient(base_url=provider_url, timeout=None, limits=limits)  # noqa: S113 - answers take minutes

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/chat")
    async def chat(question: Question) -> StreamingResponse:
        request = client.build_request("POST", "/v1/chat/completions", json=question.model_dump())
        response = await client.send(request, stream=True)
        body, close = response.aiter_raw(), BackgroundTask(response.aclose)
        return StreamingResponse(body, response.status_code, media_type="text/event-stream", background=close)

    return app


def serve(app: FastAPI, port: int) -> None:
    """Serves an app as fast as uvicorn can."""
    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


if __name__ == "__main__":
    serve(make_app(sys.argv[2]), int(sys.argv[1]))
