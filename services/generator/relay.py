"""Relays a provider's stream of deltas to the log, as token events.

Deltas that arrive during a publish form the next event. So latency is one round trip under low load, and under high
load events grow instead of queues.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from services.generator.providers import Delta, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from services.generator.writer import AnswerWriter
from shared.domain import subjects
from shared.domain.errors import ProviderInterrupted
from shared.domain.events import TokenEmitted
from shared.domain.subjects import Index
from shared.settings import Settings
from shared.tasks import cancel_and_wait


class Pending:
    """Deltas that wait for the next event. The limit of the whole answer, which `Copy` checks, limits them."""

    def __init__(self) -> None:
        self._deltas: list[Delta] = []
        self._changed = asyncio.Event()

    def add(self, delta: Delta) -> None:
        self._deltas.append(delta)
        self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    async def wait(self) -> None:
        """Waits until a delta was added, or `wake` was called, since the last `wait`."""
        await self._changed.wait()
        self._changed.clear()

    def take(self, attempt: int, index: Index, max_bytes: int) -> TokenEmitted | None:
        """Removes the first deltas, as many of one kind as fit into one event, and returns them as that event."""
        if not self._deltas:
            return None
        first = self._deltas[0]
        if isinstance(first, ToolCallDelta):
            del self._deltas[0]
            return TokenEmitted(attempt=subjects.Attempt(attempt), index=index, tool_call=first.fragment)
        texts: list[str] = []
        size = 0
        for delta in self._deltas:
            if type(delta) is not type(first) or isinstance(delta, ToolCallDelta):
                break
            size += len(delta.text)
            if texts and size > max_bytes:
                break
            texts.append(delta.text)
        del self._deltas[: len(texts)]
        text = "".join(texts)
        if isinstance(first, ReasoningDelta):
            return TokenEmitted(attempt=subjects.Attempt(attempt), index=index, reasoning=text)
        return TokenEmitted(attempt=subjects.Attempt(attempt), index=index, text=text)


class Copy:
    """Copies one stream of a provider to the log. Call `run` once, and `stop` at any time. Its `Generation` owns it.

    All deltas are in the log before the end of the stream is reported, also when it ends with an error.
    """

    def __init__(
        self, deltas: AsyncGenerator[Delta | Finished, None], writer: AnswerWriter, settings: Settings
    ) -> None:
        self._deltas = deltas
        self._writer = writer
        self._settings = settings
        self._pending = Pending()
        self._source = asyncio.create_task(self._receive())
        # Not in `_receive`: a task that is cancelled before its first step does not run its `finally`.
        self._source.add_done_callback(lambda _: self._pending.wake())

    def stop(self) -> None:
        """Closes the connection to the provider at once."""
        self._source.cancel()

    async def run(self) -> Finished | None:
        """Copies until the stream ends. Returns None after `stop`. Raises as the stream, and `SequenceConflict`."""
        try:
            while True:
                ended = self._source.done()
                state = self._writer.state
                event = self._pending.take(
                    state.attempt, Index(state.last_index + 1), self._settings.token_event_max_bytes
                )
                if event is not None:
                    await self._writer.append(event)
                elif ended:
                    break
                else:
                    await self._pending.wait()
        finally:
            await cancel_and_wait(self._source)
        return None if self._source.cancelled() else self._source.result()

    async def _receive(self) -> Finished:
        state = self._writer.state
        size = sum(len(part.encode()) for part in (*state.text, *state.reasoning))
        async with contextlib.aclosing(self._deltas) as source:
            async for delta in source:
                if isinstance(delta, Finished):
                    return delta
                size += _size_of(delta)
                if size > self._settings.answer_max_bytes:
                    return Finished(finish_reason="length")
                self._pending.add(delta)
        raise ProviderInterrupted("the provider's stream stopped without its end")


def _size_of(delta: Delta) -> int:
    match delta:
        case TextDelta() | ReasoningDelta():
            return len(delta.text.encode())
        case ToolCallDelta():
            return len(delta.fragment.arguments.encode()) + len(delta.fragment.name)
