"""One answer's events against the fact of its end. Pure."""

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
    """Events whose beginning has expired are held against each other only. Content is never named."""
    yield from _order(events)
    ends = [event for event in events if isinstance(event, GenerationEnded)]
    if len(ends) != 1:
        yield f"it has {len(ends)} ends among its tokens, not 1"
        return
    if events[-1] is not ends[0]:
        yield "it has events after its end"
    if is_from_its_beginning(events):
        yield from _fold(events, end, ends[0])


def is_from_its_beginning(events: Items[AnswerEvent]) -> bool:
    return isinstance(events[0], GenerationStarted) and events[0].attempt == 1


def _order(events: Items[AnswerEvent]) -> Iterator[str]:
    index = 0 if is_from_its_beginning(events) else None
    attempt = 0
    for event in events:
        if event.attempt < attempt:
            yield f"attempt {event.attempt} comes after attempt {attempt}"
        attempt = event.attempt
        if isinstance(event, TokenEmitted):
            if index is not None and event.index != index + 1:
                yield f"index {event.index} comes after {index}"
            index = event.index


def _fold(events: Items[AnswerEvent], end: AnswerEnded, ended: GenerationEnded) -> Iterator[str]:
    state = fold((event, Sequence(number)) for number, event in enumerate(events, start=1))
    asked = Asked(chat=end.chat, owner=end.owner, message=end.message, answer=end.answer, model=end.model)
    made = end_fact(asked, state, ended)
    if type(made) is not type(end):
        yield f"its tokens say {ended.outcome}, its fact another outcome"
    for name in _SAME:
        if getattr(made, name) != getattr(end, name):
            yield f"its {name.replace('_', ' ')} is not what its tokens make"
