"""How each target is asked, and how the frames of its streams are read."""

from abc import ABC, abstractmethod
from array import array

import msgspec

from tests.bench.connection import CallFailedError, Connection, Sink
from tests.bench.tokens import Received, clock, parse_model

QUESTION = "Tell me how an event log works."
_FRAME_END = b"\n\n"


class Reader(ABC):
    """The stream of one answer at one client. It can be read again, from its cursor, after the stream broke."""

    def __init__(self, model: str, latencies: "array[int]", *, late: bool = False) -> None:
        """Takes `late` for a reader that may come in mid-answer: tokens sent before have no latency for it."""
        self.received = Received(parse_model(model).tokens, latencies)
        self.opened_at: int | None = None
        """The stamp at which the stream began."""
        self._late = late
        self.accepted_at: int | None = None
        """The stamp at which the question was accepted."""
        self.cursor = ""
        self.is_done = False
        self.problem = ""
        """The reason that the stream itself gave for its end, if it is not a completed answer."""
        self._buffer = b""

    def feed(self, data: bytes, now: int) -> None:
        """Takes the next bytes of the stream."""
        if self.opened_at is None:
            self.opened_at = now
            if self._late:
                self.received.after = now
        if self._buffer:
            data = self._buffer + data
        *frames, self._buffer = data.split(_FRAME_END)
        for frame in frames:
            self._take(frame, now)

    def start_again(self) -> None:
        """Drops the beginning of a frame, before the stream is read from another connection."""
        self._buffer = b""

    @property
    def error(self) -> str:
        """Returns the first error, or '' if the whole answer was received to the letter."""
        if self.received.wrong or self.problem:
            return self.received.wrong or self.problem
        if not self.is_done:
            return f"no end came after {self.received.tokens} tokens"
        return (
            "" if self.received.is_complete else f"{self.received.tokens} tokens, or the checksum, are wrong"
        )

    @abstractmethod
    def _take(self, frame: bytes, now: int) -> None:
        """Takes one event."""

    def _add_text(self, frame: bytes, key: bytes, now: int) -> None:
        start = frame.find(key) + len(key)
        if start >= len(key):
            self.received.add(frame[start : frame.index(b'"', start)], now)


class OpenAIReader(Reader):
    """Reads chat completion chunks: those of the provider itself, or passed on by a proxy."""

    def _take(self, frame: bytes, now: int) -> None:
        if frame == b"data: [DONE]":
            self.is_done = True
        elif frame.startswith(b"data: "):
            self._add_text(frame, b'"content":"', now)


class UnspoolReader(Reader):
    """Reads the events of docs/http-api.md."""

    def _take(self, frame: bytes, now: int) -> None:
        head, _, data = frame.partition(b"data: ")
        if head.startswith(b"id: "):
            self.cursor = head[4 : head.index(b"\n")].decode()
        if b"event: token" in head:
            self._add_text(data, b'"text":"', now)
        elif b"event: accepted" in head:
            self.accepted_at = now
        elif b"event: reset" in head:
            self.received.clear()
        elif b"event: snapshot" in head:
            self.received.clear()
            self._add_text(data, b'"text":"', now)
        elif b"event: done" in head:
            self.is_done = True
            if b'"status":"completed"' not in data:
                self.problem = data[:200].decode(errors="replace")


class RedisReader(Reader):
    """Reads the events of baseline (b)."""

    def _take(self, frame: bytes, now: int) -> None:
        head, _, data = frame.partition(b"data: ")
        if head.startswith(b"id: "):
            self.cursor = head[4 : head.index(b"\n")].decode()
        if b"event: done" in head:
            self.is_done = True
        elif data:
            self._add_text(data, b'"text":"', now)


class Dialect(ABC):
    """The calls of one target."""

    reader: type[Reader]

    @abstractmethod
    async def answer(self, connection: Connection, model: str, reader: Reader) -> None:
        """Asks a question and reads its answer to the end. Raises `CallFailedError`."""

    async def start(self, connection: Connection, model: str) -> str:
        """Asks a question and returns the path of its stream. Raises `CallFailedError`."""
        raise NotImplementedError(f"{type(self).__name__} has no answers that outlive a connection")

    async def resume(self, connection: Connection, path: str, reader: Reader) -> None:
        """Reads the stream after the reader's cursor. Raises `CallFailedError`."""
        await self.stream_to(connection, path, reader.cursor, reader.feed)

    async def stream_to(self, connection: Connection, path: str, cursor: str, sink: Sink) -> None:
        """Passes the stream after the cursor to the sink. Raises `CallFailedError`."""
        headers = {"last-event-id": cursor} if cursor else None
        await connection.stream("GET", path, sink, headers=headers)

    async def ask_to(self, connection: Connection, model: str, sink: Sink) -> None:
        """Asks a question and passes the response, which is the answer, to the sink. Raises `CallFailedError`."""
        raise NotImplementedError(f"{type(self).__name__} does not answer in the same response")


class Direct(Dialect):
    """The provider itself: the figures of the tool alone."""

    reader = OpenAIReader
    path = "/v1/chat/completions"

    async def answer(self, connection: Connection, model: str, reader: Reader) -> None:
        await self.ask_to(connection, model, reader.feed)

    async def ask_to(self, connection: Connection, model: str, sink: Sink) -> None:
        body = {"model": model, "stream": True, "messages": [{"role": "user", "content": QUESTION}]}
        await connection.stream("POST", self.path, sink, body)


class Proxy(Direct):
    """Baseline (a)."""

    path = "/chat"


class Redis(Dialect):
    """Baseline (b): one call asks, another reads."""

    reader = RedisReader

    async def start(self, connection: Connection, model: str) -> str:
        found = await connection.call("POST", "/questions", {"model": model, "content": QUESTION})
        return f"/answers/{msgspec.json.decode(found)['id']}"

    async def answer(self, connection: Connection, model: str, reader: Reader) -> None:
        path = await self.start(connection, model)
        reader.accepted_at = clock()
        await self.resume(connection, path, reader)


class Unspool(Dialect):
    """Three calls: create a chat, ask, read the stream."""

    reader = UnspoolReader

    async def start(self, connection: Connection, model: str) -> str:
        chat = await self._create_chat(connection)
        asked = await connection.call(
            "POST", f"/v1/chats/{chat}/messages", {"content": QUESTION, "model": model}
        )
        return str(msgspec.json.decode(asked)["stream"])

    async def answer(self, connection: Connection, model: str, reader: Reader) -> None:
        path = await self.start(connection, model)
        reader.accepted_at = clock()
        await self.resume(connection, path, reader)

    async def _create_chat(self, connection: Connection) -> str:
        return str(msgspec.json.decode(await connection.call("POST", "/v1/chats", {}))["id"])


class UnspoolInOneCall(Unspool):
    """Two calls: create a chat, ask with the answer in the same response."""

    async def answer(self, connection: Connection, model: str, reader: Reader) -> None:
        chat = await self._create_chat(connection)
        body = {"content": QUESTION, "model": model}
        accept = {"accept": "text/event-stream"}
        await connection.stream("POST", f"/v1/chats/{chat}/messages", reader.feed, body, accept)


DIALECTS: dict[str, Dialect] = {
    "direct": Direct(),
    "proxy": Proxy(),
    "redis": Redis(),
    "unspool": Unspool(),
    "unspool-one-call": UnspoolInOneCall(),
}

__all__ = ["DIALECTS", "CallFailedError", "Dialect", "Reader"]
