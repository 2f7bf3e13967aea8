"""Executes commands: decides on a state, appends with its sequence, and decides again after a conflict."""

from collections.abc import Callable

from msgspec import Struct

from services.api.commands.admission import Admission
from services.api.commands.chat_states import ChatStates
from services.api.commands.decisions import Command, CreateChat, decide
from shared.domain import subjects
from shared.domain.chat import ChatState, evolve
from shared.domain.errors import LogUnavailable, Rejected, SequenceConflict, TailLost
from shared.domain.events import AnswerRequested, Fact, MessageRequested
from shared.domain.subjects import AnswerId, ChatId
from shared.log.append import store_fact
from shared.log.protocol import Log
from shared.settings import Settings


class Executed(Struct, frozen=True):
    """The chat's state after a command. `is_new` is False if an earlier call had stored its facts."""

    state: ChatState
    is_new: bool


class Commands:
    """Executes commands on chats. It calls `before_request` before it appends a request. The app owns it."""

    def __init__(
        self, log_: Log, states: ChatStates, settings: Settings, before_request: Callable[[AnswerId], None]
    ) -> None:
        self._log = log_
        self._states = states
        self._settings = settings
        self._asking = before_request
        self._admission = Admission(log_, settings)

    async def execute(self, command: Command) -> Executed:
        """Returns the chat's state after the command: its facts are stored, now or by an earlier call.

        Raises `Rejected` after a read from the leader, or `QueueFull`, `LogUnavailable` or `LogFull`.
        """
        if isinstance(command, CreateChat):
            state = self._states.assume_new(command.chat)
        else:
            state = await self._states.get(command.chat)
        for _ in range(self._settings.command_retries_max):
            refused: Rejected | None = None
            facts: tuple[Fact, ...] = ()
            # The sequence of the decision: the follower may move the state while an append waits.
            expected = state.sequence
            try:
                facts = decide(command, state)
            except Rejected as error:
                refused = error
            if not facts:
                # Never reject, or report success, from a stale state: read from the leader, and decide again if
                # the sequence moved.
                before = state.sequence
                state = await self._states.fresh(command.chat)
                if state.sequence != before:
                    continue
                if refused is not None:
                    raise refused
                return Executed(state, is_new=False)
            is_new = False
            try:
                for fact in facts:
                    if isinstance(fact, MessageRequested | AnswerRequested):
                        await self._admission.check()
                        self._asking(fact.answer)
                    appended = await store_fact(
                        self._log, fact, expected, self._settings.api_append_patience_seconds
                    )
                    expected = appended.sequence
                    evolve(state, fact, expected)
                    is_new = is_new or appended.is_new
                self._states.keep(state)
            except (SequenceConflict, TailLost):
                state = await self._states.fresh(command.chat)
                continue
            return Executed(state, is_new)
        raise LogUnavailable(f"{command.chat}: too many concurrent writes to this chat: try again")

    async def purge(self, chat: ChatId) -> None:
        """Purges the events of a deleted chat except its tombstone, which makes the deletion final."""
        tombstone = await self._log.last(subjects.fact(chat, "chat-deleted"))
        if tombstone is None:
            return
        await self._log.purge(subjects.facts(chat), before=tombstone.sequence)
        await self._log.purge(subjects.answers(chat))
