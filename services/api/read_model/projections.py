"""Maps each fact to the statements that change the rows. Pure; `projector.py` executes them.

Every statement is idempotent.
"""

from datetime import datetime
from typing import Any, assert_never

import msgspec

from shared.domain.events import (
    AnswerEnded,
    AnswerFailed,
    AnswerRequested,
    CancelRequested,
    ChatArchived,
    ChatCreated,
    ChatDeleted,
    ChatMetadataChanged,
    ChatRenamed,
    ChatUnarchived,
    Fact,
    MessageRequested,
    TitleGenerated,
)
from shared.domain.subjects import Sequence

Statement = tuple[str, tuple[Any, ...]]
"""The statement's name in `queries.sql`, and its arguments."""


def project(fact: Fact, sequence: Sequence, time: datetime) -> list[Statement]:
    """Returns the statements of one fact, in order."""
    match fact:
        case ChatCreated():
            return [_chat_created(fact, sequence, time)]
        case ChatDeleted():
            return [("chat-deleted", (fact.chat,))]
        case MessageRequested():
            changes = [_message(fact, sequence, time), _answer(fact, sequence, time)]
        case AnswerRequested():
            changes = [_answer(fact, sequence, time)]
        case CancelRequested():
            changes = [("cancel-requested", (fact.answer,))]
        case AnswerEnded():
            changes = [_ended(fact, sequence, time)]
        case TitleGenerated():
            changes = [("title-generated", (fact.chat, fact.title))]
        case ChatRenamed():
            changes = [("chat-renamed", (fact.chat, fact.title))]
        case ChatArchived() | ChatUnarchived():
            changes = [("chat-archived", (fact.chat, isinstance(fact, ChatArchived)))]
        case ChatMetadataChanged():
            changes = [("chat-metadata-changed", (fact.chat, _json(fact.metadata)))]
        case _:
            assert_never(fact)
    touched: list[Statement] = [*changes, ("touch", (fact.chat, sequence))]
    if _is_activity(fact):
        touched.append(("activity", (fact.chat, sequence, time)))
    return touched


def _is_activity(fact: Fact) -> bool:
    """Returns True for facts that move a chat to the top of the list: messages and answers."""
    return isinstance(fact, MessageRequested | AnswerRequested | AnswerEnded)


def _chat_created(fact: ChatCreated, sequence: Sequence, time: datetime) -> Statement:
    values = (fact.chat, fact.owner, fact.title, fact.model, fact.system, _json(fact.metadata))
    return "chat-created", (*values, fact.request_hash, sequence, time)


def _message(fact: MessageRequested, sequence: Sequence, time: datetime) -> Statement:
    text = "\n".join(part.text for part in fact.content)
    values = (fact.message, fact.chat, fact.parent, _json(fact.content), text, _json(fact.metadata))
    return "message-requested", (*values, fact.request_hash, fact.imported, sequence, time)


def _answer(fact: MessageRequested | AnswerRequested, sequence: Sequence, time: datetime) -> Statement:
    values = (fact.answer, fact.chat, fact.message, fact.model, _json(fact.params), _json(fact.metadata))
    return "answer-requested", (*values, fact.request_hash, fact.imported, sequence, time)


def _ended(fact: AnswerEnded, sequence: Sequence, time: datetime) -> Statement:
    error = _json(fact.error) if isinstance(fact, AnswerFailed) else None
    said = (fact.answer, fact.outcome, fact.text, fact.reasoning, _json(fact.tool_calls), fact.model)
    how = (fact.finish_reason, _json(fact.usage), error, _json(fact.spans), fact.left_out)
    return "answer-ended", (*said, *how, fact.attempt, fact.last_index, sequence, time)


def _json(value: Any) -> str:  # noqa: ANN401 - whatever msgspec can encode
    return msgspec.json.encode(value).decode()
