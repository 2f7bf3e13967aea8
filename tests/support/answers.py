"""Answers of the demo: their expected text, readers that change replicas, and their events in the log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
from msgspec import structs

from services.generator.providers import Prompt, PromptMessage, demo
from shared.domain import subjects
from shared.domain.answer import AnswerState, fold
from shared.domain.events import AnswerEvent
from shared.domain.subjects import Sequence
from shared.log.event_log import EventLog
from shared.log.recorded import answer_events_of
from shared.settings import Settings
from tests.support.reader import Reader
from tests.support.system import System

QUESTION = "What outlives a process?"
RECONNECT_SECONDS = 0.05
END_SECONDS = 90.0


def text_of(model: str, question: str = QUESTION) -> str:
    """Returns the expected text of an answer. `model` includes the provider's name."""
    prompt = Prompt(model=model.partition("/")[2], messages=(PromptMessage("user", question),))
    return "".join(demo.tokens(prompt))


async def ask_new_chat(system: System, model: str, number: int = 0) -> str:
    """Asks a question in a new chat and returns the answer's id."""
    async with system.client(number) as client:
        return (await client.ask_new_chat(model, content=QUESTION))["answer"]


class Follower(Reader):
    """A reader that resumes on the next replica until the answer ends; it records its longest pause."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer = answer
        self.longest_pause_seconds = 0.0
        self._line_at = 0.0
        self._progress = asyncio.Event()

    def line(self, line: str) -> None:
        now = asyncio.get_running_loop().time()
        if self.last_index:
            self.longest_pause_seconds = max(self.longest_pause_seconds, now - self._line_at)
        self._line_at = now
        super().line(line)
        self._progress.set()

    async def follow(self, system: System, first: int = 0) -> "Follower":
        number = first % len(system.apis)
        async with asyncio.timeout(END_SECONDS):
            while self.done is None:
                with contextlib.suppress(httpx.TransportError, NotNow):
                    await self._connection(system, number)
                number = (number + 1) % len(system.apis)
                if self.done is None:
                    await asyncio.sleep(RECONNECT_SECONDS)
        return self

    async def _connection(self, system: System, number: int) -> None:
        headers = {"last-event-id": self.cursor} if self.cursor else {}
        self._fields = {}
        path = f"{system.urls[number]}/v1/answers/{self.answer}/stream"
        async with (
            httpx.AsyncClient(timeout=30.0) as http,
            http.stream("GET", path, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise NotNow(response.status_code)
            async for line in response.aiter_lines():
                self.line(line)

    async def wait_for_index(self, index: int) -> None:
        async with asyncio.timeout(END_SECONDS):
            while self.last_index < index and self.done is None:
                await self._progress.wait()
                self._progress.clear()


class NotNow(Exception):
    """The server is temporarily unavailable (503): a retry may succeed."""


@contextlib.asynccontextmanager
async def log_of(nats_url: str) -> AsyncIterator[EventLog]:
    log = await EventLog.connect(structs.replace(Settings(), nats_url=nats_url), "unspool-test")
    try:
        yield log
    finally:
        await log.close()


async def events_of(log: EventLog, answer: str) -> list[tuple[AnswerEvent, Sequence]]:
    stored = await log.read(subjects.answer(answer), Sequence(0))
    return answer_events_of(stored)


async def state_of(log: EventLog, answer: str) -> AnswerState:
    return fold(await events_of(log, answer))
