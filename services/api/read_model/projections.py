"""Maps facts to the statements that change the rows. Pure; `projector.py` executes them.

Every statement is idempotent.
"""

import itertools
import operator
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, assert_never

import msgspec
from msgspec import Struct

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
from shared.domain.subjects import ChatId, Sequence

Arguments = tuple[Any, ...]
Statement = tuple[str, Arguments]
"""The statement's name in `queries.sql`, and its arguments."""
_GROUPED = ("chat-created", "message-requested", "answer-requested", "cancel-requested", "answer-ended")
"""Statements in an order in which each finds the rows that it needs, whatever the order of their facts."""
_DELETION = "chat-deleted"


def project(facts: Iterable[tuple[Fact, Sequence, datetime]]) -> Iterator[tuple[str, list[Arguments]]]:
    """Yields the statements of a batch in the order in which they must be executed, each with its rows of arguments.

    One statement with many rows costs little more than one with a single row. Statements of one kind stay in the
    order of their facts. Kinds change places only where the rows do not depend on it.
    """
    grouped: dict[str, list[Arguments]] = {name: [] for name in (*_GROUPED, _DELETION)}
    changes: list[Statement] = []
    touched: dict[ChatId, _Touch] = {}
    for fact, sequence, time in facts:
        for name, arguments in _statements(fact, sequence, time):
            if name in grouped:
                grouped[name].append(arguments)
            else:
                changes.append((name, arguments))
        touch = touched.setdefault(fact.chat, _Touch())
        touch.sequence = sequence
        if _is_activity(fact):
            touch.active, touch.active_at = sequence, time
    deletions = grouped.pop(_DELETION)
    yield from ((name, rows) for name, rows in grouped.items() if rows)
    for name, group in itertools.groupby(changes, key=operator.itemgetter(0)):
        yield name, [arguments for _, arguments in group]
    if touched:
        # Always in the same order: two transactions that wait for each other's rows are a deadlock.
        rows = sorted(touched.items())
        yield "touch", [(chat, touch.sequence, touch.active, touch.active_at) for chat, touch in rows]
    if deletions:
        yield _DELETION, deletions


class _Touch(Struct):
    """The changes of a batch to the row of one chat: its newest sequence, and its last activity."""

    sequence: Sequence = Sequence(0)
    active: Sequence | None = None
    active_at: datetime | None = None


def _statements(fact: Fact, sequence: Sequence, time: datetime) -> list[Statement]:  # noqa: PLR0911 - one for each fact
    match fact:
        case ChatCreated():
            return [_chat_created(fact, sequence, time)]
        case MessageRequested():
            return [_message(fact, sequence, time), _answer(fact, sequence, time)]
        case AnswerRequested():
            return [_answer(fact, sequence, time)]
        case CancelRequested():
            return [("cancel-requested", (fact.answer,))]
        case AnswerEnded():
            return [_ended(fact, sequence, time)]
        case TitleGenerated():
            return [("title-generated", (fact.chat, fact.title))]
        case ChatRenamed():
            return [("chat-renamed", (fact.chat, fact.title))]
        case ChatArchived() | ChatUnarchived():
            return [("chat-archived", (fact.chat, isinstance(fact, ChatArchived)))]
        case ChatMetadataChanged():
            return [("chat-metadata-changed", (fact.chat, _json(fact.metadata)))]
        case ChatDeleted():
            return [(_DELETION, (fact.chat,))]
        case _:
            assert_never(fact)


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
