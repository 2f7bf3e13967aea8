"""A chat's decisions: given facts, when a command, then facts or a rejection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from services.api.commands.decisions import (
    ChangeChat,
    CreateChat,
    DeleteChat,
    RequestAnswer,
    RequestCancel,
    RequestMessage,
    decide,
)
from shared.domain import chat as chats
from shared.domain.chat import ChatState, fold
from shared.domain.errors import AnswerInProgress, IdConflict, Invalid, NotFound
from shared.domain.events import (
    AnswerRequested,
    CancelRequested,
    ChatCreated,
    ChatDeleted,
    ChatRenamed,
    Fact,
    MessageRequested,
    TextPart,
)
from tests.support import examples


def given_facts(*facts: Fact) -> ChatState:
    return fold(examples.CHAT, examples.numbered(*facts))


def ask(number: int = 2, **changes: object) -> RequestMessage:
    fields: dict[str, object] = {
        "chat": examples.CHAT,
        "owner": examples.OWNER,
        "message": examples.message(number),
        "answer": examples.answer(number),
        "content": (TextPart("again"),),
        "model": examples.MODEL,
        "request_hash": f"hash {number}",
    }
    return RequestMessage(**(fields | changes))  # type: ignore[arg-type]


ANSWERED = (examples.chat_created(), examples.message_requested(1), examples.answer_completed(1))


def test_a_new_chat_is_created_once_and_the_same_call_again_appends_nothing() -> None:
    command = CreateChat(chat=examples.CHAT, owner=examples.OWNER, request_hash="h")
    (created,) = decide(command, ChatState(examples.CHAT))
    assert isinstance(created, ChatCreated)
    assert decide(command, given_facts(created)) == ()


def test_the_same_chat_id_with_other_content_is_a_conflict() -> None:
    state = given_facts(examples.chat_created(request_hash="one"))
    with pytest.raises(IdConflict):
        decide(CreateChat(chat=examples.CHAT, owner=examples.OWNER, request_hash="two"), state)


def test_a_message_without_parent_goes_on_after_the_newest_answer() -> None:
    (fact,) = decide(ask(2), given_facts(*ANSWERED))
    assert isinstance(fact, MessageRequested)
    assert fact.parent == examples.answer(1)


def test_a_request_names_exactly_the_facts_of_its_branch_oldest_first() -> None:
    edited = examples.message_requested(2, parent=None)
    state = given_facts(*ANSWERED, edited, examples.answer_completed(2))
    (on_first,) = decide(ask(3, parent=examples.answer(1)), state)
    (on_edit,) = decide(ask(3, parent=examples.answer(2)), state)
    assert isinstance(on_first, MessageRequested)
    assert isinstance(on_edit, MessageRequested)
    assert on_first.context == (2, 3)
    assert on_edit.context == (4, 5)


def test_a_second_message_on_a_running_branch_is_refused() -> None:
    state = given_facts(examples.chat_created(), examples.message_requested(1))
    with pytest.raises(AnswerInProgress):
        decide(ask(2), state)


def test_an_edit_is_a_sibling_and_may_come_while_the_first_runs() -> None:
    state = given_facts(examples.chat_created(), examples.message_requested(1))
    (fact,) = decide(ask(2, parent=None), state)
    assert isinstance(fact, MessageRequested)
    assert fact.parent is None


def test_the_same_message_id_appends_nothing_and_with_other_content_is_a_conflict() -> None:
    state = given_facts(examples.chat_created(), examples.message_requested(1))
    assert decide(ask(1, request_hash="hash 1"), state) == ()
    with pytest.raises(IdConflict):
        decide(ask(1, request_hash="other"), state)


def test_a_parent_of_another_chat_is_a_wrong_field_not_a_chat_that_is_not_there() -> None:
    with pytest.raises(Invalid):
        decide(ask(2, parent=examples.answer(77)), given_facts(*ANSWERED))


def test_regenerate_asks_for_a_sibling_answer_with_the_same_context() -> None:
    command = RequestAnswer(
        chat=examples.CHAT,
        owner=examples.OWNER,
        beside=examples.answer(1),
        answer=examples.answer(9),
        model=examples.MODEL,
    )
    (fact,) = decide(command, given_facts(*ANSWERED))
    assert isinstance(fact, AnswerRequested)
    assert (fact.message, fact.context) == (examples.message(1), (2,))
    with pytest.raises(AnswerInProgress):
        decide(command, given_facts(examples.chat_created(), examples.message_requested(1)))


def test_cancel_is_idempotent_and_changes_nothing_after_the_end() -> None:
    command = RequestCancel(chat=examples.CHAT, owner=examples.OWNER, answer=examples.answer(1))
    running = (examples.chat_created(), examples.message_requested(1))
    (fact,) = decide(command, given_facts(*running))
    assert isinstance(fact, CancelRequested)
    assert decide(command, given_facts(*running, fact)) == ()
    assert decide(command, given_facts(*ANSWERED)) == ()


def test_an_own_title_is_never_overwritten_by_a_generated_one() -> None:
    renamed, generated = examples.chat_renamed("mine"), examples.title_generated("made up")
    assert given_facts(examples.chat_created(), renamed, generated).title == "mine"
    assert given_facts(examples.chat_created(), generated, renamed).title == "mine"
    assert given_facts(examples.chat_created(), generated).title == "made up"


def test_a_change_appends_only_what_changes() -> None:
    command = ChangeChat(
        chat=examples.CHAT, owner=examples.OWNER, id="x", title="My title", archived=False, metadata=UNSET
    )
    (fact,) = decide(command, given_facts(examples.chat_created()))
    assert isinstance(fact, ChatRenamed)
    assert decide(command, given_facts(examples.chat_created(), examples.chat_renamed("My title"))) == ()


def test_nothing_brings_a_deleted_chat_back() -> None:
    delete = DeleteChat(chat=examples.CHAT, owner=examples.OWNER)
    (fact,) = decide(delete, given_facts(*ANSWERED))
    assert isinstance(fact, ChatDeleted)
    deleted = given_facts(*ANSWERED, fact)
    purged = fold(examples.CHAT, examples.numbered(fact, first=4))
    for state in (deleted, purged):
        assert decide(delete, state) == ()
        for command in (ask(2), ChangeChat(chat=examples.CHAT, owner=examples.OWNER, id="x", title="t")):
            with pytest.raises(NotFound):
                decide(command, state)
        with pytest.raises(IdConflict):
            decide(CreateChat(chat=examples.CHAT, owner=examples.OWNER), state)


def test_anothers_chat_is_not_there_for_any_command() -> None:
    state = given_facts(*ANSWERED)
    commands = (
        ask(2, owner="someone"),
        RequestCancel(chat=examples.CHAT, owner="someone", answer=examples.answer(1)),
        ChangeChat(chat=examples.CHAT, owner="someone", id="x", archived=True),
        DeleteChat(chat=examples.CHAT, owner="someone"),
    )
    for command in commands:
        with pytest.raises(NotFound):
            decide(command, state)


def test_a_full_chat_takes_no_more() -> None:
    with pytest.raises(Invalid):
        decide(ask(2, messages_max=3), given_facts(*ANSWERED))


ANY_FACT = st.sampled_from(
    [
        examples.chat_created(),
        examples.message_requested(1),
        examples.message_requested(2, parent=examples.answer(1)),
        examples.answer_requested(9, of=1),
        examples.cancel_requested(1),
        examples.answer_completed(1),
        examples.answer_failed(2),
        examples.answer_cancelled(1),
        examples.title_generated(),
        examples.chat_renamed(),
        examples.chat_archived(),
        examples.chat_unarchived(),
        examples.chat_metadata_changed(),
        examples.chat_deleted(),
    ]
)


@given(st.lists(ANY_FACT, max_size=30), st.data())
def test_a_fact_folded_twice_or_from_any_point_again_changes_nothing(
    facts: list[Fact], data: st.DataObject
) -> None:
    numbered = examples.numbered(*facts)
    whole = fold(examples.CHAT, numbered)
    again = data.draw(st.integers(0, len(numbered)))
    for fact, sequence in numbered[again:]:
        chats.evolve(whole, fact, sequence)
    assert whole == fold(examples.CHAT, numbered)
