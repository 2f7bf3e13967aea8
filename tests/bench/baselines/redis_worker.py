"""Baseline (b), the worker: `python -m tests.bench.baselines.redis_worker REDIS_URL PROVIDER_URL`.

It takes questions from a consumer group, and adds each token to its answer's stream. Everything that waits, of all
answers, is one pipeline: without that, a round trip per token would be its limit.
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
COMMANDS_MAX = 10_000
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


class Writer:
    """Sends commands in order, all that wait in one pipeline. `main` owns it."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._commands: list[tuple[Any, ...]] = []
        self._changed = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def add(self, *commands: tuple[Any, ...]) -> None:
        """Adds commands. Waits while too many wait."""
        await self._has_room.wait()
        self._commands += commands
        self._changed.set()
        if len(self._commands) >= COMMANDS_MAX:
            self._has_room.clear()

    async def run(self) -> None:
        """Sends commands until it is cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            commands, self._commands = self._commands, []
            self._has_room.set()
            pipeline = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            await pipeline.execute()


async def answer(
    writer: Writer, client: httpx.AsyncClient, entry: bytes, question: dict[bytes, bytes]
) -> None:
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
                await writer.add(*(("XADD", key, "*", "text", text) for text in texts))
    end = ("XADD", key, "*", "done", "1")
    await writer.add(end, ("EXPIRE", key, KEEP_SECONDS), ("XACK", QUESTIONS, GROUP, entry))


async def main(redis_url: str, provider_url: str) -> None:
    redis: Any = Redis.from_url(
        redis_url, max_connections=CONNECTIONS_MAX, socket_timeout=None, socket_connect_timeout=None
    )
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    with contextlib.suppress(ResponseError):  # the group is there
        await redis.xgroup_create(QUESTIONS, GROUP, id="0", mkstream=True)
    writer = Writer(redis)
    tasks = {asyncio.create_task(writer.run())}
    async with httpx.AsyncClient(base_url=provider_url, timeout=None, limits=limits) as client:  # noqa: S113 - as above
        while True:
            found = await redis.xreadgroup(
                GROUP, WORKER, {QUESTIONS: ">"}, count=TAKE_MAX, block=BLOCK_MILLISECONDS
            )
            for _, entries in found.items() if isinstance(found, dict) else found or []:
                for entry, question in entries[0] if entries and isinstance(entries[0], list) else entries:
                    task = asyncio.create_task(answer(writer, client, entry, question))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
