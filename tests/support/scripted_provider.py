"""A provider that sends exactly the bytes of a script, also invalid HTTP.

    async with ScriptedProvider() as provider:
        provider.script(status(429, headers={"retry-after": "2"}), openai("Hel", "lo"))
        ...  # connect to provider.base_url
        assert provider.requests[0].json["stream"] is True

Tests wait on signals: `wait_requests`, `exchange.gone`, `wait_closed`. No step needs a sleep.
"""

import asyncio
import json
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from msgspec import Struct

from tests.support.provider_scripts import Raw, Script, Step, document, openai, status


class Request(Struct, frozen=True, kw_only=True):
    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """From 1: two requests with the same number came over the same connection."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Exchange:
    """One request and the state of its response."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.gone = asyncio.Event()
        """The client closed the connection before the script came to its end."""
        self.gone_at: float | None = None
        """By the clock of the event loop."""
        self.done = asyncio.Event()
        """The script has come to its end."""


class ScriptedProvider:
    """Answers each POST with the next script, or with the result of `respond` if there is none left."""

    def __init__(
        self, respond: Callable[[Request], Script] | None = None, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.respond = respond or (lambda _: openai("Hello", " there", "."))
        self.models = ["scripted"]
        self.documents: dict[str, object] = {}
        """The JSON response to a GET of other paths."""
        self._tls = tls
        self.exchanges: list[Exchange] = []
        self.opened = 0
        """Connections so far."""
        self.closed = 0
        """Those of them that are over, whoever closed them."""
        self._scripts: deque[Script] = deque()
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    @property
    def requests(self) -> list[Request]:
        """All POSTs so far."""
        return [exchange.request for exchange in self.exchanges]

    @property
    def origin(self) -> str:
        assert self._server is not None
        scheme = "https" if self._tls else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def base_url(self) -> str:
        return f"{self.origin}/v1"

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return self.opened - self.closed

    def script(self, *scripts: Script) -> None:
        self._scripts.extend(scripts)

    async def start(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for handler in list(self._handlers):
            handler.cancel()
        if self._handlers:
            await asyncio.wait(self._handlers)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait_requests(self, number: int) -> Exchange:
        """Waits for the POST with this number and returns its exchange."""
        await self._until(lambda: len(self.exchanges) >= number)
        return self.exchanges[number - 1]

    async def wait_closed(self, number: int | None = None) -> None:
        """Waits until this many connections are closed; by default all that were opened."""
        await self._until(lambda: self.closed >= (self.opened if number is None else number))

    def _document(self, path: str) -> Script:
        listed = {"object": "list", "data": [{"id": name} for name in self.models]}
        found = {"/v1/models": listed} | self.documents
        return document(found[path]) if path in found else status(404, f"no {path}")

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with self._changed:
            await self._changed.wait_for(holds)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        self.opened += 1
        number = self.opened
        first = b""
        try:
            while (request := await _request(first, reader, number)) is not None:
                left = await self._exchange(request, reader, writer)
                if not left:
                    break
                first = left
        # The test is over, or the client has gone: neither is news.
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._handlers.discard(task)
            writer.transport.abort()
            self.closed += 1
            await self._tell()

    async def _exchange(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Handles one request. Returns the first byte of the next one, or b'' if the connection is closed."""
        exchange = Exchange(request)
        if request.method == "POST":
            self.exchanges.append(exchange)
            script = self._scripts.popleft() if self._scripts else self.respond(request)
        else:
            script = self._document(request.path.partition("?")[0])
        await self._tell()
        answering = asyncio.create_task(_play(script, writer))
        next_byte = asyncio.create_task(reader.read(1))
        try:
            await asyncio.wait([answering, next_byte], return_when=asyncio.FIRST_COMPLETED)
            if not answering.done() or _failed(answering):
                exchange.gone_at = asyncio.get_running_loop().time()
                exchange.gone.set()
                return b""
            exchange.done.set()
            return await next_byte if answering.result() else b""
        finally:
            for task in (answering, next_byte):
                task.cancel()
            await asyncio.gather(answering, next_byte, return_exceptions=True)


def _failed(task: "asyncio.Task[bool]") -> bool:
    return task.cancelled() or task.exception() is not None


async def _request(first: bytes, reader: asyncio.StreamReader, connection: int) -> Request | None:
    if not (first := first or await reader.read(1)):
        return None
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    start, *lines = head.strip().split("\r\n")
    method, path, _ = start.split(" ")
    headers = {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method=method, path=path, headers=headers, body=body, connection=connection)


async def _play(script: Script, writer: asyncio.StreamWriter) -> bool:
    """Runs the steps. Returns True if the connection can be reused."""
    for step in script:
        match step:
            case bytes():
                writer.write(b"%x\r\n%s\r\n" % (len(step), step))
                await writer.drain()
            case Raw(data):
                writer.write(data)
                await writer.drain()
            case asyncio.Event():
                await step.wait()
            case float():
                await asyncio.sleep(step)
            case Step.STALL:
                await asyncio.Event().wait()
            case Step.CUT:
                writer.transport.abort()
                return False
            case Step.HANG_UP:
                writer.close()
                return False
    return True
