"""An answer as it is made: the fold of its own subject, and what the next worker is to do with it. Pure.

The law of this file: `evolve` is the only reading of token events; workers, replicas, `replay` and tests
all use it, so they cannot disagree about what an answer says.
"""

from collections.abc import Iterable
from typing import assert_never

from msgspec import Struct

from shared.domain.events import (
    AnswerCancelled,
    AnswerCompleted,
    AnswerEnded,
    AnswerEvent,
    AnswerFailed,
    AnswerRequest,
    AttemptSpan,
    GenerationEnded,
    GenerationHandedOver,
    GenerationReset,
    GenerationStarted,
    TokenEmitted,
    ToolCallFragment,
    Usage,
)
from shared.domain.subjects import AnswerId, Attempt, ChatId, Index, MessageId, Sequence


class AnswerState(Struct, kw_only=True):
    """What an answer's events say so far. `sequence` is that of the last one: the next append expects it."""

    sequence: Sequence = Sequence(0)
    attempt: Attempt = Attempt(0)
    last_index: Index = Index(0)
    last_token_attempt: Attempt = Attempt(0)
    """The attempt of the token at `last_index`: with it, the two are a cursor."""
    text: list[str] = []
    reasoning: list[str] = []
    tool_calls: list[ToolCallFragment] = []
    spans: list[AttemptSpan] = []
    worker: str = ""
    model: str = ""
    left_out: int = 0
    crashes: int = 0
    handed_over: bool = False
    usage: Usage = Usage()
    """Of the attempts that were handed over; the end has the sum of all."""
    ended: GenerationEnded | None = None

    @property
    def whole_text(self) -> str:
        return "".join(self.text)

    @property
    def whole_reasoning(self) -> str:
        return "".join(self.reasoning)

    @property
    def under_way(self) -> bool:
        """A worker began, and neither ended nor handed over: it is at work, or it crashed."""
        return self.attempt > 0 and self.ended is None and not self.handed_over


def fold(events: Iterable[tuple[AnswerEvent, Sequence]]) -> AnswerState:
    state = AnswerState()
    for event, sequence in events:
        evolve(state, event, sequence)
    return state


def evolve(state: AnswerState, event: AnswerEvent, sequence: Sequence) -> None:
    """In place, so that a fold over n events costs n. A sequence that was folded already changes nothing."""
    if sequence <= state.sequence:
        return
    state.sequence = sequence
    match event:
        case GenerationStarted():
            state.attempt, state.worker, state.model = event.attempt, event.worker, event.model
            state.left_out, state.crashes, state.handed_over = event.left_out, event.crashes, False
        case TokenEmitted():
            _emitted(state, event)
        case GenerationReset():
            for part in (state.text, state.reasoning, state.tool_calls, state.spans):
                part.clear()
        case GenerationHandedOver():
            state.handed_over, state.usage = True, event.usage
        case GenerationEnded():
            state.ended = event
        case _:
            assert_never(event)


def _emitted(state: AnswerState, event: TokenEmitted) -> None:
    state.last_index, state.last_token_attempt = event.index, event.attempt
    if event.text:
        state.text.append(event.text)
    if event.reasoning:
        state.reasoning.append(event.reasoning)
    if event.tool_call is not None:
        state.tool_calls.append(event.tool_call)
    first = event.index
    if state.spans and state.spans[-1].attempt == event.attempt:
        first = state.spans.pop().first_index
    span = AttemptSpan(attempt=event.attempt, first_index=first, last_index=event.index, model=state.model)
    state.spans.append(span)


def merged_tool_calls(fragments: Iterable[ToolCallFragment]) -> tuple[ToolCallFragment, ...]:
    """Whole calls from their fragments, in the order of their index."""
    whole: dict[int, ToolCallFragment] = {}
    for part in fragments:
        so_far = whole.get(part.index, ToolCallFragment(index=part.index))
        whole[part.index] = ToolCallFragment(
            index=part.index,
            id=so_far.id or part.id,
            name=so_far.name or part.name,
            arguments=so_far.arguments + part.arguments,
        )
    return tuple(whole[index] for index in sorted(whole))


class Asked(Struct, frozen=True, kw_only=True):
    """What an end needs of its request, where the request itself is gone."""

    chat: ChatId
    owner: str
    message: MessageId
    answer: AnswerId
    model: str


def end_fact(request: AnswerRequest | Asked, state: AnswerState, ended: GenerationEnded) -> AnswerEnded:
    """The fact that `GenerationEnded` stands for. Every worker that writes it writes the same bytes."""
    model = state.model or request.model
    fields = {
        "chat": request.chat,
        "owner": request.owner,
        "id": f"{request.answer}.end",
        "message": request.message,
        "answer": request.answer,
        "model": model,
        "text": state.whole_text,
        "reasoning": state.whole_reasoning,
        "tool_calls": merged_tool_calls(state.tool_calls),
        "attempt": ended.attempt,
        "last_index": state.last_index,
        "finish_reason": ended.finish_reason,
        "usage": ended.usage,
        "spans": tuple(state.spans),
        "left_out": state.left_out,
    }
    match ended.outcome:
        case "completed":
            return AnswerCompleted(**fields)  # type: ignore[arg-type] # the names are checked by every test
        case "cancelled":
            return AnswerCancelled(**fields)  # type: ignore[arg-type]
        case "failed":
            assert ended.error is not None  # noqa: S101 - a failure has a reason
            return AnswerFailed(**fields, error=ended.error)  # type: ignore[arg-type]
