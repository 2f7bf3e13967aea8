"""The feed: events of an owner's chats, for lists, other tabs and other devices.

A watcher is a position in one shared list, and each frame is encoded once. Items that were dropped from the list are
read from the log. If the cursor is too old for that, the client gets `reload`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from msgspec import Struct

from services.api.streaming import sse
from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.events import (
    AnswerEnded,
    AnswerRequested,
    ChatArchived,
    ChatCreated,
    ChatMetadataChanged,
    ChatRenamed,
    ChatUnarchived,
    Fact,
    GenerationStarted,
    MessageRequested,
    TitleGenerated,
    name_of,
)
from shared.domain.subjects import AnswerId, Sequence
from shared.log.protocol import Log
from shared.log.recorded import Recorded
from shared.settings import Settings

RELOAD = "reload"


class Item(Struct, frozen=True):
    """One encoded event of the feed."""

    sequence: Sequence
    owner: str
    chat: str
    frame: bytes


class Feed:
    """The shared list of feed items, filled by this process' followers. The app owns it and closes it."""

    def __init__(self, log_: Log, settings: Settings) -> None:
        self._log = log_
        self._settings = settings
        self._items: deque[Item] = deque()
        self._dropped = 0
        """The number of items dropped from the front. Positions count from the first item ever."""
        self._complete_after: Sequence | None = None
        self._newest = Sequence(0)
        self._running: dict[AnswerId, str] = {}
        self._changed = asyncio.Event()
        self._generation = 0

    # --- called by the followers -------------------------------------------------------------------------

    def follow(self, recorded: Recorded) -> None:
        """Appends a fact. The follower of CHATS calls it in order."""
        if self._complete_after is None:
            self._complete_after = Sequence(recorded.sequence - 1)
        self._newest = recorded.sequence
        fact = recorded.event
        if not isinstance(fact, Fact):
            return
        if isinstance(fact, MessageRequested | AnswerRequested):
            self._running[fact.answer] = fact.owner
        if isinstance(fact, AnswerEnded):
            self._running.pop(fact.answer, None)
        self._append(Item(recorded.sequence, fact.owner, fact.chat, frame_of(fact, recorded.sequence)))

    def follow_tokens(self, recorded: Recorded) -> None:
        """Appends `answer-started`, without a cursor, for a start. The follower of TOKENS calls it for every event."""
        event, answer = recorded.event, recorded.answer
        if isinstance(event, GenerationStarted) and answer in self._running:
            data = {
                "chat": recorded.chat,
                "answer": answer,
                "attempt": event.attempt,
                "model": event.model,
            }
            frame = sse.encode("answer-started", data)
            self._append(Item(self._newest, self._running[answer], recorded.chat, frame))

    def reset(self) -> None:
        """Drops all items and ends all watchers. They reconnect with cursors, which are then looked up in the log."""
        self._items.clear()
        self._running.clear()
        self._complete_after = None
        self._generation += 1
        self._wake()

    def close(self) -> None:
        """Ends all watchers."""
        self._generation += 1
        self._wake()

    def _append(self, item: Item) -> None:
        self._items.append(item)
        if len(self._items) > self._settings.feed_items_max:
            dropped = self._items.popleft()
            self._dropped += 1
            self._complete_after = dropped.sequence
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    # --- called by the routes ----------------------------------------------------------------------------

    async def watch(self, owner: str, chat: str | None, after: Sequence | None) -> AsyncIterator[bytes]:
        """Yields frames from a cursor, or from now. Ends at `close`, at `reset`, or for a watcher that is too slow.

        The client must then reconnect. Raises `LogUnavailable`.
        """
        generation = self._generation
        position = self._dropped + len(self._items)
        if after is not None:
            found = self._position_after(after)
            if found is None:
                async for frames, reached in self._read_log(owner, chat, after):
                    after = reached
                    if frames:
                        yield frames
                found = self._position_after(after)
            position = position if found is None else found
        while generation == self._generation:
            changed = self._changed
            if position < self._dropped:  # The watcher is too slow: its next items were dropped.
                return
            fresh = [self._items[at] for at in range(position - self._dropped, len(self._items))]
            position += len(fresh)
            mine = [item.frame for item in fresh if item.owner == owner and chat in {None, item.chat}]
            if mine:
                yield b"".join(mine)
            elif not fresh and not await self._wait_for_change(changed):
                yield sse.KEEP_ALIVE

    async def _wait_for_change(self, changed: asyncio.Event) -> bool:
        try:
            async with asyncio.timeout(self._settings.keep_alive_seconds):
                await changed.wait()
        except TimeoutError:
            return False
        return True

    def _position_after(self, after: Sequence) -> int | None:
        """Returns the position after a cursor, or None if items after the cursor may have been dropped."""
        if self._complete_after is None or after < self._complete_after:
            return None
        held = next((at for at, item in enumerate(self._items) if item.sequence > after), len(self._items))
        return self._dropped + held

    async def _read_log(
        self, owner: str, chat: str | None, after: Sequence
    ) -> AsyncIterator[tuple[bytes, Sequence]]:
        """Yields frames from the log up to the newest item, with the sequence reached. Raises `LogUnavailable`."""
        position = await self._log.position(subjects.CHATS)
        until = self._newest if self._complete_after is not None else position.last
        if until - after > self._settings.facts_held_max or after > position.last:
            yield sse.encode(RELOAD, {}, sse.facts_cursor(until)), until
            return
        while after < until:
            batch = await self._log.scan(subjects.CHATS, after, self._settings.projector_batch_max)
            if not batch:
                raise LogUnavailable("the log could not be read as far as the feed has come")
            mine = [_frame_for(one, owner, chat) for one in batch if one.sequence <= until]
            after = Sequence(min(batch[-1].sequence, until))
            yield b"".join(mine), after


def _frame_for(recorded: Recorded, owner: str, chat: str | None) -> bytes:
    fact = recorded.event
    if not isinstance(fact, Fact) or fact.owner != owner or chat not in {None, fact.chat}:
        return b""
    return frame_of(fact, recorded.sequence)


def frame_of(fact: Fact, sequence: Sequence) -> bytes:
    """Returns the frame of a fact: named like the fact, with the fields that a list needs, without answers' texts."""
    return sse.encode(
        name_of(fact), {"chat": fact.chat} | _details(fact, sequence), sse.facts_cursor(sequence)
    )


def _details(fact: Fact, sequence: Sequence) -> dict[str, Any]:
    match fact:
        case ChatCreated():
            return {"title": fact.title, "model": fact.model, "metadata": fact.metadata}
        case MessageRequested():
            asked = {"message": fact.message, "parent_id": fact.parent, "content": fact.content}
            return asked | {"answer": fact.answer, "model": fact.model}
        case AnswerRequested():
            return {"message": fact.message, "answer": fact.answer, "model": fact.model}
        case AnswerEnded():
            return {"message": fact.message, "answer": fact.answer} | sse.end_data(fact, sequence)
        case TitleGenerated() | ChatRenamed():
            return {"title": fact.title}
        case ChatMetadataChanged():
            return {"metadata": fact.metadata}
        case ChatArchived() | ChatUnarchived():
            return {"archived": isinstance(fact, ChatArchived)}
        case _:
            return {"answer": fact.answer} if hasattr(fact, "answer") else {}
