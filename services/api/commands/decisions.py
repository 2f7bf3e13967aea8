"""Decides which facts a command appends to a chat's state. Pure.

Invariant: a command is decided on the given state or rejected with `Rejected`. The caller appends with the state's
sequence as the expected one, so a decision on a stale state never gets into the log.
"""

from typing import assert_never

from msgspec import UNSET, Struct, UnsetType

from shared.domain.chat import ChatState, check_exists
from shared.domain.errors import AnswerInProgress, IdConflict, Invalid, NotFound
from shared.domain.events import (
    AnswerRequested,
    CancelRequested,
    ChatArchived,
    ChatCreated,
    ChatDeleted,
    ChatMetadataChanged,
    ChatRenamed,
    ChatUnarchived,
    Content,
    Fact,
    Json,
    MessageRequested,
)
from shared.domain.subjects import AnswerId, ChatId, MessageId, Sequence


class _Command(Struct, frozen=True, kw_only=True):
    chat: ChatId
    owner: str


class CreateChat(_Command, frozen=True, kw_only=True):
    """Creates a chat."""

    title: str | None = None
    model: str | None = None
    system: str | None = None
    metadata: Json = {}
    request_hash: str = ""


class RequestMessage(_Command, frozen=True, kw_only=True):
    """Posts a message and requests its answer. `parent` unset: the newest answer; None: a first message."""

    message: MessageId
    answer: AnswerId
    content: Content
    model: str
    parent: AnswerId | UnsetType | None = UNSET
    params: Json = {}
    metadata: Json = {}
    request_hash: str = ""
    messages_max: int = 10_000


class RequestAnswer(_Command, frozen=True, kw_only=True):
    """Requests another answer to the message of the answer `beside`."""

    beside: AnswerId
    answer: AnswerId
    model: str
    params: Json = {}
    metadata: Json = {}
    request_hash: str = ""
    messages_max: int = 10_000


class RequestCancel(_Command, frozen=True, kw_only=True):
    """Cancels an answer."""

    answer: AnswerId


class ChangeChat(_Command, frozen=True, kw_only=True):
    """Changes a chat. Unset fields do not change. `id` is the prefix of the facts' ids."""

    id: str
    title: str | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    metadata: Json | UnsetType = UNSET


class DeleteChat(_Command, frozen=True, kw_only=True):
    """Deletes a chat."""


Command = CreateChat | RequestMessage | RequestAnswer | RequestCancel | ChangeChat | DeleteChat


def decide(command: Command, state: ChatState) -> tuple[Fact, ...]:
    """Returns the facts to append: none if the command was executed before. Raises a subclass of `Rejected`."""
    match command:
        case CreateChat():
            return _create(command, state)
        case DeleteChat():
            return _delete(command, state)
        case _:
            check_exists(state, command.owner)
    match command:
        case RequestMessage():
            return _request_message(command, state)
        case RequestAnswer():
            return _request_answer(command, state)
        case RequestCancel():
            return _cancel(command, state)
        case ChangeChat():
            return _change(command, state)
        case _:
            assert_never(command)


def _create(command: CreateChat, state: ChatState) -> tuple[Fact, ...]:
    if state.sequence == 0:
        return (
            ChatCreated(
                chat=command.chat,
                owner=command.owner,
                id=f"{command.chat}.created",
                title=command.title,
                model=command.model,
                system=command.system,
                metadata=command.metadata,
                request_hash=command.request_hash,
            ),
        )
    if state.exists and state.owner == command.owner and state.request_hash == command.request_hash:
        return ()
    raise IdConflict(f"The id {command.chat!r} was used before, for another chat.")


def _request_message(command: RequestMessage, state: ChatState) -> tuple[Fact, ...]:
    if known := state.messages.get(command.message):
        if known.request_hash == command.request_hash:
            return ()
        raise IdConflict(f"The id {command.message!r} was used before, for another message.")
    if command.answer in state.answers:
        raise IdConflict(f"The id {command.answer!r} was used before, for another answer.")
    parent = state.newest if isinstance(command.parent, UnsetType) else command.parent
    if parent is not None:
        branch = state.answers.get(parent)
        if branch is None:
            # Not `NotFound`: the chat of the request exists.
            raise Invalid("parent_id", "must be an answer of this chat")
        if branch.ended is None:
            raise AnswerInProgress(parent)
    _check_room(state, command.messages_max)
    return (
        MessageRequested(
            chat=command.chat,
            owner=command.owner,
            id=command.message,
            message=command.message,
            answer=command.answer,
            parent=parent,
            content=command.content,
            model=command.model,
            params=command.params,
            instructions=state.system,
            metadata=command.metadata,
            context=branch_context(state, parent),
            request_hash=command.request_hash,
        ),
    )


def _request_answer(command: RequestAnswer, state: ChatState) -> tuple[Fact, ...]:
    if known := state.answers.get(command.answer):
        if known.request_hash == command.request_hash:
            return ()
        raise IdConflict(f"The id {command.answer!r} was used before, for another answer.")
    beside = state.answers.get(command.beside)
    if beside is None:
        raise NotFound("answer", command.beside)
    for sibling in state.answers.values():
        if sibling.message == beside.message and sibling.ended is None:
            raise AnswerInProgress(sibling.id)
    _check_room(state, command.messages_max)
    message = state.messages[beside.message]
    return (
        AnswerRequested(
            chat=command.chat,
            owner=command.owner,
            id=command.answer,
            message=message.id,
            answer=command.answer,
            model=command.model,
            params=command.params,
            instructions=state.system,
            metadata=command.metadata,
            context=(*branch_context(state, message.parent), message.sequence),
            request_hash=command.request_hash,
        ),
    )


def _check_room(state: ChatState, messages_max: int) -> None:
    if len(state.messages) + len(state.answers) + 2 > messages_max:
        raise Invalid(
            "content", f"the chat has reached its limit of {messages_max} messages: create another chat"
        )


def branch_context(state: ChatState, parent: AnswerId | None) -> tuple[Sequence, ...]:
    """Returns the sequences of a branch's facts, oldest first, up to and including the answer `parent`."""
    found: list[Sequence] = []
    while parent is not None:
        answer = state.answers[parent]
        message = state.messages[answer.message]
        if answer.ended is not None:
            found.append(answer.ended)
        found.append(message.sequence)
        parent = message.parent
    return tuple(reversed(found))


def _cancel(command: RequestCancel, state: ChatState) -> tuple[Fact, ...]:
    answer = state.answers.get(command.answer)
    if answer is None:
        raise NotFound("answer", command.answer)
    if answer.ended is not None or answer.cancel_requested:
        return ()
    id_ = f"{command.answer}.cancel"
    return (CancelRequested(chat=command.chat, owner=command.owner, id=id_, answer=command.answer),)


def _change(command: ChangeChat, state: ChatState) -> tuple[Fact, ...]:
    facts: list[Fact] = []
    chat, owner = command.chat, command.owner
    if not isinstance(command.title, UnsetType) and (command.title != state.title or not state.titled):
        facts.append(ChatRenamed(chat=chat, owner=owner, id=f"{command.id}.title", title=command.title))
    if not isinstance(command.archived, UnsetType) and command.archived != state.archived:
        event = ChatArchived if command.archived else ChatUnarchived
        facts.append(event(chat=chat, owner=owner, id=f"{command.id}.archived"))
    if not isinstance(command.metadata, UnsetType) and command.metadata != state.metadata:
        id_ = f"{command.id}.metadata"
        facts.append(ChatMetadataChanged(chat=chat, owner=owner, id=id_, metadata=command.metadata))
    return tuple(facts)


def _delete(command: DeleteChat, state: ChatState) -> tuple[Fact, ...]:
    if state.owner != command.owner or state.sequence == 0:
        raise NotFound("chat", command.chat)
    if state.deleted:
        return ()
    return (ChatDeleted(chat=command.chat, owner=command.owner, id=f"{command.chat}.deleted"),)
