"""Baseline (b), the worker: `python -m tests.bench.baselines.redis_worker REDIS_URL PROVIDER_URL`.

It takes questions from a consumer group, and adds each token to the answer's stream: the tokens that arrive together
in one pipeline.
"""

import asyncio
import contextlib
import sys
from typing import Any

import httpx
import msgspec
import uvloop
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.bench.baselines.redis_api import CONNECTIONS_MAX, QUESTIONS, answer_key

GROUP, WORKER = "workers", "worker"
TAKE_MAX = 64
BLOCK_MILLISECONDS = 5_000
KEEP_SECONDS = 3_600
_DATA = b"data: "


class Delta(msgspec.Struct):
    """The part of a choice that has new text."""

    content: str | None = None


class Choice(msgspec.Struct):
    """One choice of a chunk."""

    delta: Delta = msgspec.field(default_factory=Delta)


class Chunk(msgspec.Struct):
    """One chunk of a chat completion."""

    choices: list[Choice] = []


_decode = msgspec.json.Decoder(Chunk).decode


def texts_of(lines: list[bytes]) -> list[str]:
    """Returns the tokens of whole lines."""
    found = []
    for line in lines:
        if line.startswith(_DATA) and not line.startswith(b"data: [DONE]"):
            found += [choice.delta.content for choice in _decode(line[len(_DATA) :]).choices]
    return [text for text in found if text]


async def answer(redis: Any, client: httpx.AsyncClient, entry: bytes, question: dict[bytes, bytes]) -> None:
    """Generates one answer and acknowledges its question."""
    key = answer_key(question[b"id"].decode())
    body = {
        "model": question[b"model"].decode(),
        "stream": True,
        "messages": [{"role": "user", "content": question[b"content"].decode()}],
    }
    rest = b""
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        async for data in response.aiter_raw():
            *lines, rest = (rest + data).split(b"\n")
            if texts := texts_of(lines):
                pipeline = redis.pipeline(transaction=False)
                for text in texts:
                    pipeline.xadd(key, {"text": text})
                await pipeline.execute()
    pipeline = redis.pipeline(transaction=False)
    pipeline.xadd(key, {"done": "1"})
    pipeline.expire(key, KEEP_SECONDS)
    pipeline.xack(QUESTIONS, GROUP, entry)
    await pipeline.execute()


async def main(redis_url: str, provider_url: str) -> None:
    redis: Any = Redis.from_url(
        redis_url, max_connections=CONNECTIONS_MAX, socket_timeout=None, socket_connect_timeout=None
    )
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    with contextlib.suppress(ResponseError):  # the group is there
        await redis.xgroup_create(QUESTIONS, GROUP, id="0", mkstream=True)
    tasks: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=provider_url, timeout=None, limits=limits) as client:  # noqa: S113 - as above
        while True:
            found = await redis.xreadgroup(
                GROUP, WORKER, {QUESTIONS: ">"}, count=TAKE_MAX, block=BLOCK_MILLISECONDS
            )
            for _, entries in found.items() if isinstance(found, dict) else found or []:
                for entry, question in entries[0] if entries and isinstance(entries[0], list) else entries:
                    task = asyncio.create_task(answer(redis, client, entry, question))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
