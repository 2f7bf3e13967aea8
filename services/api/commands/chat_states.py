"""States of chats for commands and streams: rows of the read model plus newer facts from the follower of CHATS.

Invariant: a state may be stale, never wrong. Facts that are decided on it are appended with its sequence as the
expected one, and a rejection is reported only after a read from the leader (`fresh`).
"""

import asyncio
from collections import OrderedDict
from datetime import datetime

from services.api.commands.held_facts import HeldFacts
from services.api.read_model.checkpoint import Checkpoint, is_lost, mark_of
from services.api.read_model.queries import ReadModelUnavailable, Reads
from shared.domain import subjects
from shared.domain.chat import ChatState, evolve
from shared.domain.errors import LogUnavailable
from shared.domain.events import ChatDeleted, Fact
from shared.domain.subjects import ChatId, Sequence
from shared.log.protocol import Log
from shared.log.recorded import Recorded
from shared.logging import logger
from shared.settings import Settings

log = logger(__name__)

_DELIVERY_SECONDS = 0.1
"""Limit for the wait for a fact's delivery, before it is read from the log."""


class ChatStates:
    """Caches states and keeps them up to date. The app owns it; the follower of CHATS feeds it."""

    def __init__(self, log_: Log, reads: Reads, settings: Settings) -> None:
        self._log = log_
        self._reads = reads
        self._settings = settings
        self._cached: OrderedDict[ChatId, ChatState] = OrderedDict()
        self._held = HeldFacts(settings.facts_held_max)
        self._deleted: OrderedDict[ChatId, None] = OrderedDict()
        self._follows_after: Sequence | None = None
        self._sound_mark = ""
        """The mark of a checkpoint that was verified against the log."""
        self._waiting: dict[Sequence, asyncio.Future[Recorded]] = {}
        log_.on_reconnect(self._log_is_back)

    async def start(self) -> Sequence:
        """Returns the sequence from which the follower of CHATS must read, so that it leaves no gap after the rows."""
        position = await self._log.position(subjects.CHATS)
        try:
            folded = await self._reads.position()
        except ReadModelUnavailable:
            folded = Sequence(0)
        oldest_held = position.last - self._settings.facts_held_max // 2
        self._follows_after = Sequence(min(max(folded, oldest_held, 0), position.last))
        return Sequence(self._follows_after + 1)

    def follow(self, recorded: Recorded) -> None:
        """Holds a fact and applies it to the cached state of its chat. The follower of CHATS calls it in order."""
        evicted = self._held.add(recorded)
        if evicted is not None:
            self._follows_after = evicted
        if isinstance(recorded.event, ChatDeleted):
            self._deleted[recorded.chat] = None
            if len(self._deleted) > self._settings.chat_states_max:
                self._deleted.popitem(last=False)
        if (state := self._cached.get(recorded.chat)) is not None:
            _apply(state, recorded)
        if (waiting := self._waiting.pop(recorded.sequence, None)) is not None and not waiting.done():
            waiting.set_result(recorded)

    def followed_after(self, sequence: Sequence, most: int) -> list[Recorded] | None:
        """Returns all facts after a sequence that were followed, None if they are more than `most` or not all are held."""
        if self._follows_after is None or sequence < self._follows_after:
            return None
        return self._held.after(sequence, most)

    def is_deleted(self, chat: ChatId) -> bool:
        """Returns True if this process knows the deletion; the rows may lag. It is final unless the log lost it."""
        return chat in self._deleted or ((state := self._cached.get(chat)) is not None and state.deleted)

    def _log_is_back(self) -> None:
        """Evicts states newer than the follower's position: after a reconnect the log may have lost its tail."""
        self._sound_mark = ""
        for state in list(self._cached.values()):
            if state.sequence > self._seen:
                del self._cached[state.id]

    @property
    def _seen(self) -> Sequence:
        return self._held.newest or self._follows_after or Sequence(0)

    def reset(self) -> None:
        self._cached.clear()
        self._deleted.clear()
        self._held.clear()
        self._follows_after = None

    async def get(self, chat: ChatId) -> ChatState:
        """Returns the newest state known here. Raises `LogUnavailable` if neither rows, cache nor log have it."""
        if (state := self._cached.get(chat)) is not None:
            self._cached.move_to_end(chat)
            return state
        try:
            state, checkpoint = await self._reads.chat_state(chat)
        except ReadModelUnavailable:
            return await self._replay(chat)
        folded = checkpoint.position if checkpoint else Sequence(0)
        lost = checkpoint is not None and await self._is_lost(checkpoint)
        if lost or self._follows_after is None or folded < self._follows_after:
            return await self._replay(chat)
        self._apply_held(state, folded)
        return state if lost is None else self._keep(state)

    def assume_new(self, chat: ChatId) -> ChatState:
        """Returns the cached state, else that of a chat without facts: for an append which proves that there are none."""
        return self._cached.get(chat) or ChatState(chat)

    def keep(self, state: ChatState) -> None:
        """Caches a state whose sequence an append has just proved to be the chat's newest."""
        if self._follows_after is not None and state.sequence > self._follows_after:
            self._apply_held(state, state.sequence)
            self._keep(state)

    async def time_of(self, sequence: Sequence) -> datetime | None:
        """Returns the broker's time of a fact, None if the log does not have it. Raises `LogUnavailable`.

        The follower delivers a new fact at about the time of its acknowledgement: waiting for it saves a read.
        """
        recorded = self._held.at(sequence)
        if recorded is None and self._follows_after is not None and sequence > self._seen:
            recorded = await self._wait_for(sequence)
        if recorded is None:
            recorded = await self._log.at(subjects.CHATS, sequence)
        return recorded.time if recorded else None

    async def _wait_for(self, sequence: Sequence) -> Recorded | None:
        waiting = self._waiting.get(sequence)
        if waiting is None:
            waiting = self._waiting[sequence] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(asyncio.shield(waiting), _DELIVERY_SECONDS)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(sequence, None)

    async def _is_lost(self, checkpoint: Checkpoint) -> bool | None:
        """Returns True if the rows have facts that the log lost, None if the log is unavailable.

        Rows that are only ahead of this follower are valid.
        """
        if checkpoint.mark == self._sound_mark or self._has_followed(checkpoint):
            return False
        try:
            lost = await is_lost(self._log, checkpoint)
        except LogUnavailable:
            return None
        self._sound_mark = "" if lost else checkpoint.mark
        return lost

    def _has_followed(self, checkpoint: Checkpoint) -> bool:
        followed = self._held.at(checkpoint.position)
        return followed is not None and mark_of(followed) == checkpoint.mark

    async def fresh(self, chat: ChatId) -> ChatState:
        """Returns the state as the leader has it. Raises `LogUnavailable`."""
        state = await self.get(chat)
        newest = await self._log.last(subjects.facts(chat))
        if newest is None:
            if state.sequence == 0:
                return state
            return await self._replay(chat)
        if newest.sequence != state.sequence:
            if newest.sequence < state.sequence:  # the log lost its tail
                return await self._replay(chat)
            for recorded in await self._log.read(subjects.facts(chat), state.sequence):
                _apply(state, recorded)
        return state

    async def _replay(self, chat: ChatId) -> ChatState:
        """Returns the state read from the log alone, if the rows cannot be used: expensive in a large stream."""
        following = self._follows_after is not None
        state = ChatState(chat)
        for recorded in await self._log.read(subjects.facts(chat), Sequence(0)):
            _apply(state, recorded)
        self._cached.pop(chat, None)
        if (
            not following or self._follows_after is None
        ):  # The follower will not deliver facts before its start.
            return state
        self._apply_held(state, state.sequence)
        return self._keep(state)

    def _apply_held(self, state: ChatState, folded: Sequence) -> None:
        """Applies facts newer than `folded` from the follower's buffer."""
        for recorded in self._held.of(state.id, folded):
            _apply(state, recorded)

    def _keep(self, state: ChatState) -> ChatState:
        """Caches the state and returns the chat's cached object, which may be another one that is at least as new."""
        known = self._cached.get(state.id)
        if known is not None and known.sequence >= state.sequence:
            return known
        if state.sequence:
            self._cached[state.id] = state
            if len(self._cached) > self._settings.chat_states_max:
                self._cached.popitem(last=False)
        return state


def _apply(state: ChatState, recorded: Recorded) -> None:
    if isinstance(recorded.event, Fact):
        evolve(state, recorded.event, recorded.sequence)
    else:  # An unknown event still counts: the next append must expect its sequence.
        state.sequence = Sequence(max(state.sequence, recorded.sequence))
