"""Commands: decided on a state, appended on the condition that it was the newest, or decided again."""

from collections.abc import Callable

from services.api.commands.chat_states import ChatStates
from services.api.commands.decisions import Command, decide
from shared.domain import subjects
from shared.domain.chat import ChatState, evolve
from shared.domain.errors import LogUnavailable, Rejected, SequenceConflict, TailLost
from shared.domain.events import AnswerRequested, Fact, MessageRequested
from shared.domain.subjects import AnswerId, ChatId
from shared.log.append import append_fact
from shared.log.protocol import Log
from shared.settings import Settings


class Commands:
    """`asking` is called with each answer just before its request is appended."""

    def __init__(
        self, log_: Log, states: ChatStates, settings: Settings, asking: Callable[[AnswerId], None]
    ) -> None:
        self._log = log_
        self._states = states
        self._settings = settings
        self._asking = asking

    async def execute(self, command: Command) -> ChatState:
        """The chat's state after the command: what it appends is in the log, or was there before.

        Raises `Rejected` (then nothing was appended, and the leader was asked), `LogUnavailable` or `LogFull`.
        """
        state = await self._states.get(command.chat)
        for _ in range(self._settings.command_retries_max):
            refused: Rejected | None = None
            facts: tuple[Fact, ...] = ()
            try:
                facts = decide(command, state)
            except Rejected as error:
                refused = error
            if not facts:
                # A no, or "done before": this state may be behind, or hold what the log has lost. The leader has the word.
                before = state.sequence
                state = await self._states.fresh(command.chat)
                if state.sequence != before:
                    continue
                if refused is not None:
                    raise refused
                return state
            try:
                for fact in facts:
                    if isinstance(fact, MessageRequested | AnswerRequested):
                        self._asking(fact.answer)
                    sequence = await append_fact(
                        self._log, fact, state.sequence, self._settings.api_append_patience_seconds
                    )
                    evolve(state, fact, sequence)
            except (SequenceConflict, TailLost):
                state = await self._states.fresh(command.chat)
                continue
            return state
        raise LogUnavailable(f"{command.chat}: others write to this chat faster than this call could")

    async def purge(self, chat: ChatId) -> None:
        """What a deleted chat leaves behind. The tombstone stays: nothing brings the chat back."""
        tombstone = await self._log.last(subjects.fact(chat, "chat-deleted"))
        if tombstone is None:
            return
        await self._log.purge(subjects.facts(chat), before=tombstone.sequence)
        await self._log.purge(subjects.answers(chat))
