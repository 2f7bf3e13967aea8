"""Baseline (b), the API: `python -m tests.bench.baselines.redis_api PORT REDIS_URL`. Its readers XREAD from their cursor."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from redis.asyncio import Redis

from tests.bench.baselines.proxy import serve

QUESTIONS = "questions"
CONNECTIONS_MAX = 20_000
BLOCK_MILLISECONDS = 15_000
ENTRIES_MAX = 500
_encode = msgspec.json.Encoder().encode


class Question(BaseModel):
    """A question to a model."""

    model: str
    content: str


def answer_key(answer: str) -> str:
    """Returns the key of an answer's stream in Redis."""
    return f"answer:{answer}"


async def read_answer(redis: Any, answer: str, cursor: str) -> AsyncIterator[bytes]:
    """Yields all events after the cursor, those of one XREAD together, until the end of the answer."""
    key = answer_key(answer)
    while True:
        found = await redis.xread({key: cursor}, count=ENTRIES_MAX, block=BLOCK_MILLISECONDS)
        if not found:
            yield b": keep-alive\n\n"
            continue
        [(_, entries)] = found.items() if isinstance(found, dict) else found
        frames = []
        # Redis' third protocol has one more list around the entries of a stream.
        for id_, fields in entries[0] if entries and isinstance(entries[0], list) else entries:
            cursor = id_.decode()
            if b"done" in fields:
                frames.append(b"id: %b\nevent: done\ndata: {}\n\n" % id_)
                yield b"".join(frames)
                return
            data = _encode({"text": fields[b"text"].decode()})
            frames.append(b"id: %b\nevent: token\ndata: %b\n\n" % (id_, data))
        yield b"".join(frames)


def make_app(redis_url: str) -> FastAPI:
    redis: Any = Redis.from_url(
        redis_url, max_connections=CONNECTIONS_MAX, socket_timeout=None, socket_connect_timeout=None
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.post("/questions")
    async def ask(question: Question) -> dict[str, str]:
        answer = uuid4().hex
        await redis.xadd(QUESTIONS, {"id": answer, "model": question.model, "content": question.content})
        return {"id": answer}

    @app.get("/answers/{answer}")
    async def stream(answer: str, last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
        body = read_answer(redis, answer, last_event_id or "0-0")
        return StreamingResponse(body, media_type="text/event-stream")

    return app


if __name__ == "__main__":
    serve(make_app(sys.argv[2]), int(sys.argv[1]))
