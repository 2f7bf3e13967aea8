"""The state of an answer, folded from its own subject, and the fact of its end. Pure.

Only `evolve` interprets token events: workers, replicas, `replay` and tests use it, so all get the same text.
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
from shared.domain.tool_calls import merge_fragments


class AnswerState(Struct, kw_only=True):
    """An answer's state. `sequence` is that of its newest event, which the next append expects."""

    sequence: Sequence = Sequence(0)
    attempt: Attempt = Attempt(0)
    last_index: Index = Index(0)
    last_token_attempt: Attempt = Attempt(0)
    """The attempt of the token at `last_index`: both together are a cursor."""
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
    """Usage of the attempts that were handed over. The end has the sum of all attempts."""
    ended: GenerationEnded | None = None

    @property
    def whole_text(self) -> str:
        return "".join(self.text)

    @property
    def whole_reasoning(self) -> str:
        return "".join(self.reasoning)

    @property
    def under_way(self) -> bool:
        """True if a worker started and neither ended nor handed over: it is working, or it crashed."""
        return self.attempt > 0 and self.ended is None and not self.handed_over


def fold(events: Iterable[tuple[AnswerEvent, Sequence]]) -> AnswerState:
    """Returns the state after these events, which must be in order of sequence."""
    state = AnswerState()
    for event, sequence in events:
        evolve(state, event, sequence)
    return state


def evolve(state: AnswerState, event: AnswerEvent, sequence: Sequence) -> None:
    """Applies an event to the state in place: a fold over n events costs n. Ignores a sequence applied before."""
    if sequence <= state.sequence:
        return
    state.sequence = sequence
    match event:
        case GenerationStarted():
            state.attempt, state.worker, state.model = event.attempt, event.worker, event.model
            state.left_out, state.crashes, state.handed_over = event.left_out, event.crashes, False
        case TokenEmitted():
            _apply_token(state, event)
        case GenerationReset():
            for part in (state.text, state.reasoning, state.tool_calls, state.spans):
                part.clear()
        case GenerationHandedOver():
            state.handed_over, state.usage = True, event.usage
        case GenerationEnded():
            state.ended = event
        case _:
            assert_never(event)


def _apply_token(state: AnswerState, event: TokenEmitted) -> None:
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


def merge_tool_calls(fragments: Iterable[ToolCallFragment]) -> tuple[ToolCallFragment, ...]:
    """Returns whole tool calls, merged from their fragments, in order of index."""
    return tuple(
        ToolCallFragment(index=index, id=id_, name=name, arguments=arguments)
        for index, id_, name, arguments in merge_fragments(fragments)
    )


class Asked(Struct, frozen=True, kw_only=True):
    """The fields of a request that the fact of an end needs, for a request that is lost."""

    chat: ChatId
    owner: str
    message: MessageId
    answer: AnswerId
    model: str


def end_fact(request: AnswerRequest | Asked, state: AnswerState, ended: GenerationEnded) -> AnswerEnded:
    """Returns the fact of an answer's end. Every writer produces the same bytes, so a repeated append is detected."""
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
        "tool_calls": merge_tool_calls(state.tool_calls),
        "attempt": ended.attempt,
        "last_index": state.last_index,
        "finish_reason": ended.finish_reason,
        "usage": ended.usage,
        "spans": tuple(state.spans),
        "left_out": state.left_out,
    }
    match ended.outcome:
        case "completed":
            return AnswerCompleted(**fields)  # type: ignore[arg-type] # tests check the names
        case "cancelled":
            return AnswerCancelled(**fields)  # type: ignore[arg-type]
        case "failed":
            assert ended.error is not None  # noqa: S101 - a failure has a reason
            return AnswerFailed(**fields, error=ended.error)  # type: ignore[arg-type]
