"""A stand-in for a model's provider: `python -m tests.bench.provider PORT`. It speaks OpenAI's chat completions.

It is a raw protocol with frames that are prepared in advance, so that it is never the limit of what it feeds.
"""

import asyncio
import contextlib
import gc
import json
import sys

import uvloop

from tests.bench.tokens import TOKENS_MAX, Model, checksum_of, clock, final_text, parse_model

BATCH_TOKENS = 32
"""Tokens in one write of a stream without pace."""
REQUEST_MAX_BYTES = 16 * 1024**2
_BEGIN = b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1767225600,"model":"bench","choices":['
_TEXT = b'{"index":0,"delta":{"content":"'
_TEXT_END = b'"},"finish_reason":null}]}\n\n'


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_EMPTY = _chunk(_BEGIN + _TEXT + b"0" * 15 + _TEXT_END)
_SIZE = _EMPTY.partition(b"\r\n")[0]
BEFORE_TOKEN = _SIZE + b"\r\n" + _BEGIN + _TEXT
AFTER_TOKEN = b" " + _TEXT_END + b"\r\n"
NUMBERS = [b"%05d" % number for number in range(TOKENS_MAX + 1)]
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
    + _chunk(_BEGIN + b'{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n')
)


def _ending(model: Model, checksum: int) -> bytes:
    usage = b'],"usage":{"prompt_tokens":9,"completion_tokens":%d,"total_tokens":%d}}\n\n'
    frames = (
        _BEGIN + _TEXT + final_text(checksum) + _TEXT_END,
        _BEGIN + b'{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
        _BEGIN + usage % (model.tokens, model.tokens + 9),
        b"data: [DONE]\n\n",
    )
    return b"".join(map(_chunk, frames)) + b"0\r\n\r\n"


class Stream:
    """One answer that is being sent. It ends early if the connection is lost."""

    def __init__(self, model: Model, transport: asyncio.Transport) -> None:
        self._model = model
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._sent = 0
        self._checksum = 0
        self._blocked = False
        self._timer: asyncio.Handle | None = None
        self._begin = self._loop.time() + model.lead_seconds
        transport.write(HEAD)
        if model.lead_seconds:
            self._timer = self._loop.call_at(self._begin, self._advance)
        else:
            self._advance()

    def block(self, *, blocked: bool) -> None:
        """Stops a stream without pace while the client does not read, and continues it."""
        self._blocked = blocked
        if not blocked and self._timer is None and self._sent < self._model.tokens:
            self._advance()

    def close(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._sent = self._model.tokens

    def _advance(self) -> None:
        self._timer = None
        if self._blocked or self._sent >= self._model.tokens:
            return
        left = self._model.tokens - self._sent
        self._write(min(left, self._due()))
        if self._sent == self._model.tokens:
            self._transport.write(_ending(self._model, self._checksum))
        elif self._model.per_second:
            following = self._begin + self._sent / self._model.per_second
            self._timer = self._loop.call_at(following, self._advance)
        else:
            self._timer = self._loop.call_soon(self._advance)

    def _due(self) -> int:
        """Returns the number of tokens that the pace asks for now: a late timer must not slow it down."""
        if not self._model.per_second:
            return BATCH_TOKENS
        planned = int((self._loop.time() - self._begin) * self._model.per_second) + 1
        return max(1, planned - self._sent)

    def _write(self, count: int) -> None:
        stamp = b"%09d" % clock()
        frames: list[bytes] = []
        text: list[bytes] = []
        for number in NUMBERS[self._sent + 1 : self._sent + 1 + count]:
            frames += (BEFORE_TOKEN, number, stamp, AFTER_TOKEN)
            text += (number, stamp, b" ")
        self._checksum = checksum_of(b"".join(text), self._checksum)
        self._sent += count
        self._transport.write(b"".join(frames))


class Provider(asyncio.Protocol):
    """One connection. Requests follow each other on it."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""
        self._stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment] # uvloop's is none of asyncio's classes

    def connection_lost(self, _error: Exception | None) -> None:
        if self._stream:
            self._stream.close()

    def pause_writing(self) -> None:
        if self._stream:
            self._stream.block(blocked=True)

    def resume_writing(self) -> None:
        if self._stream:
            self._stream.block(blocked=False)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if len(self._buffer) > REQUEST_MAX_BYTES:
            self._transport.abort()
        if not separator:
            return
        length = _content_length(head)
        if len(body) >= length:
            self._buffer = body[length:]
            self._respond(head, body[:length])

    def _respond(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._write_document(200, {"object": "list", "data": []})
            return
        try:
            model = parse_model(json.loads(body)["model"])
        except (KeyError, ValueError) as error:
            self._write_document(400, {"error": {"message": str(error)}})
            return
        self._stream = Stream(model, self._transport)

    def _write_document(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        head = b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % (status, len(body)) + body)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port, backlog=4096)
    gc.freeze()
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main(int(sys.argv[1])))
