"""Clients that read: cut anywhere, resumed anywhere, and checked at every event."""

import asyncio
import random
from functools import partial
from typing import Any

import msgspec

from services.api.streaming import sse
from services.api.streaming.streams import Nothing
from shared.domain.errors import NotFound
from shared.domain.subjects import AnswerId, chat_of
from shared.sse_decoder import Frame, SseDecoder
from tests.simulation.checker import Answer, Checker
from tests.simulation.processes import SimApi


class Shown:
    """The text that one client shows. Checks each event against the log at some moment, and `done` against the fact."""

    def __init__(self, answer: Answer, checker: Checker) -> None:
        self.answer = answer
        self.text = ""
        self.cursor: str | None = None
        self.index = 0
        self.done: dict[str, Any] | None = None
        self._checker = checker

    def apply(self, frame: Frame) -> None:
        data = msgspec.json.decode(frame.data)
        require = self._checker.require
        require(self.done is None, f"{self.answer.id}: {frame.event} after done")
        match frame.event:
            case "token":
                attempt, index = (int(part) for part in (frame.id or "").split("."))
                require(
                    index == self.index + 1, f"{self.answer.id}: a client gets {index} after {self.index}"
                )
                self.index, self.text = index, self.text + data["text"]
                self._was_said(attempt, "token")
            case "reset":
                self.text = ""
            case "snapshot":
                self.text, self.index = data["text"], data["index"]
                self._was_said(data["attempt"], "snapshot")
            case "done":
                self._is_done(data)
        self.cursor = self.cursor if frame.id is None else frame.id

    def _was_said(self, attempt: int, event: str) -> None:
        if self._checker.chat(chat_of(self.answer.id)).deleted:
            return  # its tokens may be gone already, and the stream breaks off in a moment
        if self.answer.begun_twice:
            return
        said = self.answer.texts.get((attempt, self.index), set())
        self._checker.require(
            self.text in said,
            f"{self.answer.id}: after a {event} a client shows {self.text!r} at {attempt}.{self.index}, the log {said}",
        )

    def _is_done(self, data: dict[str, Any]) -> None:
        fact, require = self.answer.fact, self._checker.require
        if self._checker.tail_lost:  # the fact may be lost by now, or stand there a second time
            ended = self.answer.ever_ended
            known = self.text in ended or self.answer.begun_twice
            require(known, f"{self.answer.id}: done with {self.text!r}, the facts had {ended}")
            self.done = data
            return
        require(fact, f"{self.answer.id}: done, and the fact is not in the log")
        if fact is not None:
            require(
                self.text == fact.text,
                f"{self.answer.id}: done with {self.text!r}, the fact has {fact.text!r}",
            )
            require(
                data["last_index"] == self.index == fact.last_index, f"{self.answer.id}: done at {self.index}"
            )
            require(data["status"] == fact.outcome, f"{self.answer.id}: done says {data['status']}")
        self.done = data


class Connection:
    """One stream of an answer. It may be cut at any byte."""

    def __init__(self, shown: Shown, bytes_max: int | None) -> None:
        self.cut = False
        self._shown = shown
        self._left = bytes_max
        self._decoder = SseDecoder()

    def deliver(self, chunk: bytes) -> bool:
        """Delivers bytes. Returns False if the client has disconnected."""
        if self.cut:
            return False
        if self._left is not None:
            chunk, self._left = chunk[: self._left], max(0, self._left - len(chunk))
            self.cut = not self._left
        for frame in self._decoder.feed(chunk):
            self._shown.apply(frame)
        return not self.cut


async def stream(api: SimApi, answer: AnswerId, owner: str, cursor: str | None, to: Connection) -> str:
    """Streams an answer like the route does. Returns how it ended."""
    streams = api.here.streams
    opened = await streams.open(answer, owner, sse.parse_cursor(cursor) if cursor else None)
    if isinstance(opened, Nothing):
        return "nothing"
    source = streams.make_body(opened, answer, owner)
    try:
        async for chunk in source:
            if not to.deliver(chunk):
                return "cut"
    finally:
        await source.aclose()  # type: ignore[attr-defined] # it is a generator
    return "end"


async def read(shown: Shown, owner: str, random_: random.Random, pick: Any) -> None:
    """Reads until `done`, or until the chat is deleted."""
    while shown.done is None:
        api: SimApi = pick()
        limit = random_.randrange(500) if random_.random() < 0.3 else None
        connection = Connection(shown, limit)
        ending = api.serve(partial(stream, api, shown.answer.id, owner, shown.cursor, connection))
        patience = random_.choice((0.05, 0.4, 3.0, 20.0))
        try:
            how = await asyncio.wait_for(asyncio.shield(ending), patience)
        except TimeoutError:
            how = "gone"
        connection.cut = True
        shown._checker.note(f"a reader of {shown.answer.id} at {shown.cursor} left by {api.process}: {how!r}")
        if isinstance(how, NotFound):
            return
        shown._checker.require(
            how != "nothing" or shown.done, f"{shown.answer.id}: nothing more, says the server, before done"
        )
        await asyncio.sleep(random_.random() * 0.3)
