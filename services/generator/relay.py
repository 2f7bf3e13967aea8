"""Copies a provider's stream of deltas to the log, as token events."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from services.generator.providers import Delta, Finished
from services.generator.writer import AnswerWriter, Pending, size_of
from shared.domain.errors import ProviderInterrupted
from shared.domain.subjects import Index
from shared.settings import Settings
from shared.tasks import cancel_and_wait


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
                size += size_of(delta)
                if size > self._settings.answer_max_bytes:
                    return Finished(finish_reason="length")
                self._pending.add(delta)
        raise ProviderInterrupted("the provider's stream stopped without its end")
