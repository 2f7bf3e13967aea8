"""A reader that checks each event of a stream against the contract, over any number of connections."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx

from infra.chaos.replicas import Refused, Replicas
from infra.chaos.witness import Seen, Witness
from shared.backoff import backoff_seconds
from shared.domain.subjects import chat_of
from shared.sse_decoder import Frame, SseDecoder

RECONNECT_FIRST_SECONDS = 0.05
RECONNECT_LONGEST_SECONDS = 1.0
NOT_FOUND = 404
NO_CONTENT = 204


class Watcher:
    """Reads one answer and reports violations to the witness. `seen` is the state so far."""

    def __init__(self, replicas: Replicas, witness: Witness, answer: str) -> None:
        self.seen = Seen(answer)
        self._replicas = replicas
        self._witness = witness
        self._answer = answer
        self._cursor: str | None = None
        self._progress = asyncio.Event()
        self._heard_at = 0.0

    @property
    def has_ended(self) -> bool:
        return bool(self.seen.status) or self.seen.gone

    async def read(self) -> Seen:
        """Reads until the answer ends or its chat is deleted, and reconnects as often as needed."""
        self._witness.seen.append(self.seen)
        self._heard_at = asyncio.get_running_loop().time()
        fruitless = 0
        while not self.has_ended:
            before = self._cursor
            await self._read_connection()
            fruitless = 0 if self._cursor != before else fruitless + 1
            wait = backoff_seconds(
                fruitless + 1,
                first_seconds=RECONNECT_FIRST_SECONDS,
                longest_seconds=RECONNECT_LONGEST_SECONDS,
            )
            await asyncio.sleep(0 if self.has_ended else wait)
        self._progress.set()
        return self.seen

    async def wait_until(self, reached: Callable[[Seen], bool]) -> None:
        """Returns when `reached` is true, or at the end of the answer."""
        while not reached(self.seen) and not self.has_ended:
            await self._progress.wait()
            self._progress.clear()

    async def _read_connection(self) -> None:
        self.seen.connections += 1
        self.seen.resumes += self._cursor is not None
        try:
            async with self._replicas.stream(self._answer, self._cursor) as response:
                if response is not None:
                    await self._copy(response)
        except Refused as refused:
            if refused.status == NOT_FOUND and chat_of(self._answer) in self._witness.deleted:
                self.seen.gone = True
                return
            self._witness.add_finding("wrong", f"reader of {self._answer} at {self._cursor}: {refused}")
            self.seen.gone = True  # A retry cannot succeed.
        except httpx.TransportError:
            self._replicas.use_next()

    async def _copy(self, response: httpx.Response) -> None:
        if response.status_code == NO_CONTENT:
            self._witness.add_finding(
                "wrong", f"{self._answer}: 204 after {self._cursor}, which is not the end"
            )
            self.seen.gone = True
            return
        decoder = SseDecoder()
        async for chunk in response.aiter_raw():
            for frame in decoder.feed(chunk):
                self._take(frame)
        if not self.has_ended:
            self._witness.add_finding(
                "wrong", f"{self._answer}: a stream ended cleanly without done, at {self._cursor}"
            )

    def _take(self, frame: Frame) -> None:
        now = asyncio.get_running_loop().time()
        self.seen.longest_silence_seconds = max(self.seen.longest_silence_seconds, now - self._heard_at)
        self._heard_at = now
        if self.seen.status:
            self._witness.add_finding("doubled", f"{self._answer}: {frame.event} follows done")
        self._apply(frame.event, json.loads(frame.data), frame.id)
        self._cursor = self._cursor if frame.id is None else frame.id
        self._progress.set()

    def _apply(self, event: str, data: dict[str, Any], id_: str | None) -> None:
        seen = self.seen
        match event:
            case "token":
                self._apply_token(data["text"], int((id_ or "").partition(".")[2]))
            case "reset":
                seen.text, seen.resets = "", seen.resets + 1
            case "snapshot":
                seen.text, seen.last_index, seen.snapshots = data["text"], data["index"], seen.snapshots + 1
            case "done":
                if data["last_index"] != seen.last_index:
                    self._witness.add_finding(
                        "lost",
                        f"{self._answer}: done at index {data['last_index']}, but the reader has {seen.last_index}",
                    )
                seen.status, seen.done_cursor = data["status"], data["cursor"]
            case _:
                pass

    def _apply_token(self, text: str, index: int) -> None:
        seen = self.seen
        if index != seen.last_index + 1:
            what = f"{self._answer}: a reader received index {index} after {seen.last_index}"
            self._witness.add_finding("doubled" if index <= seen.last_index else "lost", what)
        seen.text, seen.last_index, seen.tokens = seen.text + text, index, seen.tokens + 1
