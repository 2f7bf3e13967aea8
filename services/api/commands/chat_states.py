"""Chats' states for commands and streams: rows of the read model, and what the follower of CHATS has since.

The law of this file: a state may be old, never wrong. What is decided on it is appended on the condition
that it was the newest; and a "no" is given only after the leader was asked (`fresh`).
"""

from collections import OrderedDict

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


class ChatStates:
    def __init__(self, log_: Log, reads: Reads, settings: Settings) -> None:
        self._log = log_
        self._reads = reads
        self._settings = settings
        self._cached: OrderedDict[ChatId, ChatState] = OrderedDict()
        self._held = HeldFacts(settings.facts_held_max)
        self._deleted: OrderedDict[ChatId, None] = OrderedDict()
        self._follows_after: Sequence | None = None
        self._sound_mark = ""
        """Of rows that were held against the log, and are of it."""
        log_.on_reconnect(self._log_is_back)

    async def start(self) -> Sequence:
        """Where the follower of CHATS is to begin: after what the rows have, so that there is no gap between them."""
        position = await self._log.position(subjects.CHATS)
        try:
            folded = await self._reads.position()
        except ReadModelUnavailable:
            folded = Sequence(0)
        oldest_held = position.last - self._settings.facts_held_max // 2
        self._follows_after = Sequence(min(max(folded, oldest_held, 0), position.last))
        return Sequence(self._follows_after + 1)

    def follow(self, recorded: Recorded) -> None:
        """Holds the next fact, and applies it to the cached state of its chat. Called by the follower of CHATS, in order."""
        evicted = self._held.add(recorded)
        if evicted is not None:
            self._follows_after = evicted
        if isinstance(recorded.event, ChatDeleted):
            self._deleted[recorded.chat] = None
            if len(self._deleted) > self._settings.chat_states_max:
                self._deleted.popitem(last=False)
        if (state := self._cached.get(recorded.chat)) is not None:
            _apply(state, recorded)

    def is_deleted(self, chat: ChatId) -> bool:
        """Whether this process knows it, while the rows may not yet. What was deleted stays deleted, unless the log lost it."""
        return chat in self._deleted or ((state := self._cached.get(chat)) is not None and state.deleted)

    def _log_is_back(self) -> None:
        """Perhaps without its tail. What the follower had not seen of that, nobody would ever take back here."""
        self._sound_mark = ""
        for state in list(self._cached.values()):
            if state.sequence > self._seen:
                del self._cached[state.id]

    @property
    def _seen(self) -> Sequence:
        return self._held.newest or self._follows_after or Sequence(0)

    def rewound(self) -> None:
        self._cached.clear()
        self._deleted.clear()
        self._held.clear()
        self._follows_after = None

    async def get(self, chat: ChatId) -> ChatState:
        """As new as this process knows. Raises `LogUnavailable` only if neither rows nor cache can tell."""
        if (state := self._cached.get(chat)) is not None:
            self._cached.move_to_end(chat)
            return state
        try:
            state, checkpoint = await self._reads.chat_state(chat)
        except ReadModelUnavailable:
            return await self._replayed(chat)
        folded = checkpoint.position if checkpoint else Sequence(0)
        lost = checkpoint is not None and await self._is_lost(checkpoint)
        if lost or self._follows_after is None or folded < self._follows_after:
            return await self._replayed(chat)
        self._tell(state, folded)
        return state if lost is None else self._keep(state)

    async def _is_lost(self, checkpoint: Checkpoint) -> bool | None:
        """Whether the rows hold what the log has lost; None while the log is away, and nobody knows.

        That they are a little ahead of this follower is nothing.
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
        """As the leader has it. Raises `LogUnavailable`."""
        state = await self.get(chat)
        newest = await self._log.last(subjects.facts(chat))
        if newest is None:
            if state.sequence == 0:
                return state
            return await self._replayed(chat)
        if newest.sequence != state.sequence:
            if newest.sequence < state.sequence:  # the log lost its tail
                return await self._replayed(chat)
            for recorded in await self._log.read(subjects.facts(chat), state.sequence):
                _apply(state, recorded)
        return state

    async def _replayed(self, chat: ChatId) -> ChatState:
        """From the log alone: dear in a large stream (`jetstream.md`), so only where the rows cannot help."""
        following = self._follows_after is not None
        state = ChatState(chat)
        for recorded in await self._log.read(subjects.facts(chat), Sequence(0)):
            _apply(state, recorded)
        self._cached.pop(chat, None)
        if (
            not following or self._follows_after is None
        ):  # what comes before the follower begins, it will not tell
            return state
        self._tell(state, state.sequence)
        return self._keep(state)

    def _tell(self, state: ChatState, folded: Sequence) -> None:
        """Applies the facts that the follower has brought since `folded`."""
        for recorded in self._held.of(state.id, folded):
            _apply(state, recorded)

    def _keep(self, state: ChatState) -> ChatState:
        """The one object per chat that the follower keeps new. Another may have come first: then that one."""
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
    else:  # this version does not know it, and yet an append must expect its sequence
        state.sequence = Sequence(max(state.sequence, recorded.sequence))
