"""The state of a chat, folded from its facts. Pure.

Only `evolve` interprets facts. `services/api/commands/decisions.py` decides commands on a state.
"""

from collections.abc import Iterable
from typing import assert_never

from msgspec import Struct

from shared.domain.errors import NotFound
from shared.domain.events import (
    AnswerEnded,
    AnswerRequested,
    CancelRequested,
    ChatArchived,
    ChatCreated,
    ChatDeleted,
    ChatMetadataChanged,
    ChatRenamed,
    ChatUnarchived,
    Fact,
    Json,
    MessageRequested,
    Outcome,
    TitleGenerated,
)
from shared.domain.subjects import AnswerId, ChatId, MessageId, Sequence

# --- state -------------------------------------------------------------------------------------------


class MessageNode(Struct):
    """A user's message in the tree. `parent` is the answer that it replies to."""

    id: MessageId
    parent: AnswerId | None
    sequence: Sequence
    request_hash: str


class AnswerNode(Struct):
    """An answer in the tree. It is open until `ended` has the sequence of the fact of its end."""

    id: AnswerId
    message: MessageId
    sequence: Sequence
    request_hash: str
    model: str
    ended: Sequence | None = None
    outcome: Outcome | None = None
    cancel_requested: bool = False


class ChatState(Struct):
    """A chat's state. `sequence` is that of its newest fact, which the next append expects; 0 if it never existed."""

    id: ChatId
    sequence: Sequence = Sequence(0)
    created: Sequence = Sequence(0)
    owner: str = ""
    title: str | None = None
    titled: bool = False
    """True if a person set the title: a generated title does not replace it."""
    model: str | None = None
    system: str | None = None
    metadata: Json = {}
    archived: bool = False
    deleted: bool = False
    request_hash: str = ""
    messages: dict[MessageId, MessageNode] = {}
    answers: dict[AnswerId, AnswerNode] = {}
    newest: AnswerId | None = None

    @property
    def exists(self) -> bool:
        return self.created > 0 and not self.deleted

    @property
    def generating(self) -> bool:
        return any(answer.ended is None for answer in self.answers.values())


def fold(chat: ChatId, facts: Iterable[tuple[Fact, Sequence]]) -> ChatState:
    """Returns the state after these facts, which must be in order of sequence."""
    state = ChatState(chat)
    for fact, sequence in facts:
        evolve(state, fact, sequence)
    return state


def evolve(state: ChatState, fact: Fact, sequence: Sequence) -> None:
    """Applies a fact to the state in place, so that a fold over n facts costs n. Ignores a sequence applied before."""
    if sequence <= state.sequence:
        return
    state.sequence = sequence
    match fact:
        case ChatCreated():
            _apply_created(state, fact, sequence)
        case MessageRequested():
            message = MessageNode(fact.message, fact.parent, sequence, fact.request_hash)
            state.messages[fact.message] = message
            _apply_request(state, fact, sequence)
        case AnswerRequested():
            _apply_request(state, fact, sequence)
        case CancelRequested():
            if answer := state.answers.get(fact.answer):
                answer.cancel_requested = True
        case AnswerEnded():
            if (answer := state.answers.get(fact.answer)) and answer.ended is None:
                answer.ended, answer.outcome = sequence, fact.outcome
        case TitleGenerated():
            state.title = state.title if state.titled else fact.title
        case ChatRenamed():
            state.title, state.titled = fact.title, True
        case ChatArchived():
            state.archived = True
        case ChatUnarchived():
            state.archived = False
        case ChatMetadataChanged():
            state.metadata = fact.metadata
        case ChatDeleted():
            state.deleted, state.owner = True, fact.owner
            state.messages, state.answers, state.newest = {}, {}, None
        case _:
            assert_never(fact)


def _apply_created(state: ChatState, fact: ChatCreated, sequence: Sequence) -> None:
    state.created, state.owner, state.request_hash = sequence, fact.owner, fact.request_hash
    state.title, state.titled = fact.title, fact.title is not None
    state.model, state.system, state.metadata = fact.model, fact.system, fact.metadata


def _apply_request(state: ChatState, fact: MessageRequested | AnswerRequested, sequence: Sequence) -> None:
    node = AnswerNode(fact.answer, fact.message, sequence, fact.request_hash, fact.model)
    state.answers[fact.answer] = node
    state.newest = fact.answer


def check_exists(state: ChatState, owner: str) -> None:
    """Raises `NotFound` if the chat does not exist, was deleted, or belongs to another owner."""
    if not state.exists or state.owner != owner:
        raise NotFound("chat", state.id)
