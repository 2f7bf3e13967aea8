"""Checks that the facts and token events of an export form a valid chat. Pure; every violation is a `ValueError`."""

import itertools
import re
from collections.abc import Sequence as Items
from typing import assert_never

from shared.domain import subjects
from shared.domain.chat import ChatState
from shared.domain.events import (
    AnswerEnded,
    AnswerEvent,
    AnswerRequest,
    AnswerRequested,
    CancelRequested,
    ChatArchived,
    ChatCreated,
    ChatDeleted,
    ChatMetadataChanged,
    ChatRenamed,
    ChatUnarchived,
    Fact,
    GenerationEnded,
    GenerationStarted,
    MessageRequested,
    TitleGenerated,
    TokenEmitted,
)

_ID = re.compile(r"[!-~]{1,300}")
"""A fact's id. It becomes a header of the message in the log."""


def check_fact(fact: Fact, state: ChatState) -> None:
    """Raises `ValueError` if the fact cannot follow `state`, which is folded from the facts before it."""
    if not _ID.fullmatch(fact.id):
        raise ValueError("the id of a fact must consist of 1 to 300 printable characters without spaces")
    match fact:
        case ChatCreated():
            _expect(not state.created, "the chat was already created")
        case ChatDeleted():
            raise ValueError("the chat was deleted: there is nothing to import")
        case MessageRequested() | AnswerRequested():
            _check_request(fact, state)
        case CancelRequested():
            _expect(fact.answer in state.answers, f"the answer {fact.answer} was never requested")
        case AnswerEnded():
            _check_end(fact, state)
        case TitleGenerated() | ChatRenamed() | ChatArchived() | ChatUnarchived() | ChatMetadataChanged():
            pass
        case _:
            assert_never(fact)


def _check_request(fact: AnswerRequest, state: ChatState) -> None:
    of_this_chat = subjects.chat_of(fact.message) == subjects.chat_of(fact.answer) == state.id
    well_formed = subjects.is_message_id(fact.message) and subjects.is_answer_id(fact.answer)
    _expect(of_this_chat and well_formed, "the ids of a message and an answer must begin with the chat's id")
    _expect(fact.answer not in state.answers, f"the answer {fact.answer} was already requested")
    if isinstance(fact, AnswerRequested):
        _expect(fact.message in state.messages, f"no earlier fact has the message {fact.message}")
        return
    _expect(fact.message not in state.messages, f"the message {fact.message} occurs twice")
    if fact.parent is not None:
        parent = state.answers.get(fact.parent)
        _expect(
            parent is not None and parent.ended is not None,
            "its parent is not an earlier answer that has ended",
        )


def _check_end(fact: AnswerEnded, state: ChatState) -> None:
    answer = state.answers.get(fact.answer)
    if answer is None or answer.message != fact.message:
        raise ValueError(f"the answer {fact.answer} was never requested")
    _expect(answer.ended is None, f"the answer {fact.answer} has already ended")


def _expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - the first argument is the assertion
    if not holds:
        raise ValueError(otherwise)


def is_whole(events: Items[AnswerEvent], *, ended: bool) -> bool:
    """Returns True if no event of the answer is missing: neither expired at the start, nor lost at the end."""
    first = events[0]
    if not isinstance(first, GenerationStarted) or first.attempt != 1:
        return False
    indexes = (event.index for event in events if isinstance(event, TokenEmitted))
    if any(index != expected for index, expected in zip(indexes, itertools.count(1), strict=False)):
        return False
    ends = [isinstance(event, GenerationEnded) for event in events]
    return not any(ends[:-1]) and (ends[-1] or not ended)
