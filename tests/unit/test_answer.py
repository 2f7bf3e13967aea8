"""The fold of an answer, and what the next worker makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.takeover import EndNow, Generate, Gone, Settled, WriteFact, plan
from shared.domain.answer import AnswerState, end_fact, evolve, fold
from shared.domain.events import AnswerCompleted, AnswerEvent, Fact, ToolCallFragment
from tests.support import examples

REQUEST = examples.message_requested(1)


def after(*events: AnswerEvent) -> AnswerState:
    return fold(examples.numbered(*events))


def planned(state: AnswerState, *facts: Fact, can_continue: bool = True) -> object:
    return plan(REQUEST, state, facts, can_continue=can_continue, crashes_max=3)


def test_the_text_is_all_tokens_since_the_last_reset() -> None:
    state = after(
        examples.started(),
        examples.token(1, "lost "),
        examples.started(attempt=2),
        examples.reset(2),
        examples.token(2, "kept", attempt=2),
    )
    assert state.whole_text == "kept"
    assert state.last_index == 2


def test_spans_tell_which_part_came_from_which_attempt() -> None:
    state = after(
        examples.started(),
        examples.token(1),
        examples.token(2),
        examples.started(attempt=2),
        examples.token(3, attempt=2),
    )
    assert [(span.attempt, span.first_index, span.last_index) for span in state.spans] == [
        (1, 1, 2),
        (2, 3, 3),
    ]


def test_two_workers_write_the_same_fact_for_the_same_end() -> None:
    ended = examples.ended()
    one = end_fact(REQUEST, after(examples.started(), examples.token(1), ended), ended)
    two = end_fact(REQUEST, after(examples.started(), examples.token(1), ended), ended)
    assert isinstance(one, AnswerCompleted)
    assert one == two
    assert one.text == "word1 "


def test_fragments_of_tool_calls_are_whole_calls_in_the_fact() -> None:
    fragments = (
        ToolCallFragment(index=0, id="a", name="add", arguments='{"x"'),
        ToolCallFragment(index=1, id="b", name="sub", arguments="{}"),
        ToolCallFragment(index=0, arguments=":1}"),
    )
    events = [examples.started()]
    from shared.domain.events import TokenEmitted

    tokens = [TokenEmitted(attempt=1, index=n, tool_call=part) for n, part in enumerate(fragments, 1)]  # type: ignore[arg-type]
    fact = end_fact(REQUEST, after(*events, *tokens), examples.ended(last_index=3))
    assert [(call.id, call.name, call.arguments) for call in fact.tool_calls] == [
        ("a", "add", '{"x":1}'),
        ("b", "sub", "{}"),
    ]


def test_a_fresh_request_is_generated() -> None:
    assert planned(AnswerState()) == Generate(attempt=1, crashes=0, go_on=False, reset=False)  # type: ignore[arg-type]


def test_a_crashed_answer_is_gone_on_with_where_the_provider_can_else_reset() -> None:
    state = after(examples.started(), examples.token(1))
    assert planned(state) == Generate(attempt=2, crashes=1, go_on=True, reset=False)  # type: ignore[arg-type]
    expected = Generate(attempt=2, crashes=1, go_on=False, reset=True)  # type: ignore[arg-type]
    assert planned(state, can_continue=False) == expected


def test_a_hand_over_does_not_count_as_a_crash() -> None:
    state = after(examples.started(), examples.token(1), examples.handed_over())
    assert planned(state) == Generate(attempt=2, crashes=0, go_on=True, reset=False)  # type: ignore[arg-type]


def test_a_request_that_kills_its_worker_again_and_again_ends_as_failed() -> None:
    todo = planned(after(examples.started(attempt=3, crashes=2)))
    assert isinstance(todo, EndNow)
    assert todo.outcome == "failed"


def test_what_has_ended_is_never_generated_again() -> None:
    ended = after(examples.started(), examples.token(1), examples.ended())
    assert planned(ended) == WriteFact(examples.ended())
    assert planned(ended, examples.answer_completed(1)) == Settled()
    assert planned(AnswerState(), examples.chat_deleted()) == Gone()


def test_a_queued_answer_that_was_cancelled_never_calls_the_provider() -> None:
    assert planned(AnswerState(), examples.cancel_requested(1)) == EndNow("cancelled")


def test_a_cancel_after_the_end_changes_nothing() -> None:
    ended = after(examples.started(), examples.token(1), examples.ended())
    assert planned(ended, examples.cancel_requested(1)) == WriteFact(examples.ended())


def test_cancels_and_ends_of_other_answers_are_none_of_ours() -> None:
    todo = planned(AnswerState(), examples.cancel_requested(5), examples.answer_completed(6))
    assert isinstance(todo, Generate)


@pytest.mark.parametrize(
    "state", [AnswerState(), after(examples.started(), examples.token(1)), after(examples.ended())]
)
def test_nothing_is_written_for_an_imported_request(state: AnswerState) -> None:
    request = examples.message_requested(1, imported=True)
    assert plan(request, state, (), can_continue=True, crashes_max=3) == Settled()


EVENTS = st.sampled_from(
    [
        examples.started(),
        examples.token(1),
        examples.token(2),
        examples.started(attempt=2),
        examples.reset(2),
        examples.token(3, attempt=2),
        examples.handed_over(),
        examples.ended(),
    ]
)


@given(st.lists(EVENTS, max_size=20), st.data())
def test_an_event_folded_twice_changes_nothing(events: list[AnswerEvent], data: st.DataObject) -> None:
    state = after(*events)
    for event, sequence in examples.numbered(*events)[data.draw(st.integers(0, len(events))) :]:
        evolve(state, event, sequence)
    assert state == after(*events)
