"""Compares one answer's events with the fact of its end. Pure."""

from collections.abc import Iterator
from collections.abc import Sequence as Items

from shared.domain.answer import Asked, end_fact, fold
from shared.domain.events import AnswerEnded, AnswerEvent, GenerationEnded, GenerationStarted, TokenEmitted
from shared.domain.subjects import Sequence

_SAME = (
    "text",
    "reasoning",
    "tool_calls",
    "attempt",
    "last_index",
    "finish_reason",
    "usage",
    "spans",
    "left_out",
)


def differences(events: Items[AnswerEvent], end: AnswerEnded) -> Iterator[str]:
    """Yields the differences. If the first events have expired, it only checks the events among each other. The lines
    never contain the answer's content.
    """
    yield from _check_order(events)
    ends = [event for event in events if isinstance(event, GenerationEnded)]
    if len(ends) != 1:
        yield f"its tokens have {len(ends)} ends instead of 1"
        return
    if events[-1] is not ends[0]:
        yield "its tokens have events after the end"
    if starts_at_beginning(events):
        yield from _compare_fold(events, end, ends[0])


def starts_at_beginning(events: Items[AnswerEvent]) -> bool:
    """Returns True if no event has expired: the first one is the start of attempt 1."""
    return isinstance(events[0], GenerationStarted) and events[0].attempt == 1


def _check_order(events: Items[AnswerEvent]) -> Iterator[str]:
    index = 0 if starts_at_beginning(events) else None
    attempt = 0
    for event in events:
        if event.attempt < attempt:
            yield f"attempt {event.attempt} follows attempt {attempt}"
        attempt = event.attempt
        if isinstance(event, TokenEmitted):
            if index is not None and event.index != index + 1:
                yield f"index {event.index} follows index {index}"
            index = event.index


def _compare_fold(events: Items[AnswerEvent], end: AnswerEnded, ended: GenerationEnded) -> Iterator[str]:
    state = fold((event, Sequence(number)) for number, event in enumerate(events, start=1))
    asked = Asked(chat=end.chat, owner=end.owner, message=end.message, answer=end.answer, model=end.model)
    made = end_fact(asked, state, ended)
    if type(made) is not type(end):
        yield f"its tokens end as {ended.outcome}, its fact has another outcome"
    for name in _SAME:
        if getattr(made, name) != getattr(end, name):
            yield f"its {name.replace('_', ' ')} differs from its tokens"
