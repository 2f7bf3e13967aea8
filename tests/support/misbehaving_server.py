"""A real HTTP server with a script: per request it responds, rejects, cuts the connection, or stays silent."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from msgspec import Struct
from unspool_client import Client, Patience

ANSWER = "00000000-0000-4000-8000-000000000001_a00000000-0000-4000-8000-000000000002"
SOON = Patience(first_wait_seconds=0.001, longest_wait_seconds=0.002, retry_after_max_seconds=0.003)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ntransfer-encoding: chunked\r\n\r\n"
SSE = b"text/event-stream"


class Request(Struct, frozen=True):
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cursor(self) -> str | None:
        return self.headers.get("last-event-id")


Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Misbehaving:
    """Plays one act per request. At its end it asserts that all acts were played and that no request was left over."""

    def __init__(self, *acts: Act) -> None:
        self._acts = list(acts)
        self._server: asyncio.Server | None = None
        self._playing: set[asyncio.Task[None]] = set()
        self.requests: list[Request] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)
        if kind is None:
            assert not self._acts, f"{len(self._acts)} acts were not asked for"

    @property
    def cursors(self) -> list[str | None]:
        return [request.cursor for request in self.requests]

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                self.requests.append(await _request(reader))
                if self._acts:
                    await self._acts.pop(0)(reader, writer)
                else:
                    await respond(500, {"title": "more was asked for than the test has written down"})(
                        reader, writer
                    )
        finally:
            writer.transport.abort()


def client_of(*servers: Misbehaving, patience: Patience = SOON) -> Client:
    return Client([server.url for server in servers], patience=patience)


async def _request(reader: asyncio.StreamReader) -> Request:
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Request(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


# --- acts ------------------------------------------------------------------------------------------------


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def stream(*frames: bytes, ends: bool = False, kind: bytes = SSE) -> Act:
    """Returns an act that sends these frames, then ends the body cleanly or breaks off."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            HEAD % kind + b"".join(_chunk(frame) for frame in frames) + (_chunk(b"") if ends else b"")
        )
        await _drain_and_close(writer)

    return act


def then_silent(*frames: bytes) -> Act:
    """Returns an act that sends these frames, then nothing until the client disconnects."""

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD % SSE + b"".join(_chunk(frame) for frame in frames))
        await reader.read()

    return act


def respond(status: int, body: Any = None, **headers: str) -> Act:
    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        fields = {"content-length": str(len(content)), "connection": "close"} | headers
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + content)
        await _drain_and_close(writer)

    return act


def hang_up() -> Act:
    """Returns an act that reads the request and closes the connection without a response."""

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    return act


async def _drain_and_close(writer: asyncio.StreamWriter) -> None:
    """Flushes the written bytes and closes the connection cleanly: an abort could overtake them."""
    await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
