"""An answer as it is made: the fold of its own subject, and what the next worker is to do with it. Pure.

The law of this file: `evolve` is the only reading of token events; workers, replicas, `replay` and tests
all use it, so they cannot disagree about what an answer says.
"""

import msgspec
from msgspec import Struct

from shared.events import (
    AnswerCancelled,
    AnswerCompleted,
    AnswerEnd,
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
from shared.subjects import Attempt, Index, Sequence


class AnswerState(Struct, frozen=True, kw_only=True):
    """What an answer's events say so far. `sequence` is that of the last one: the next append expects it."""

    sequence: Sequence = Sequence(0)
    attempt: Attempt = Attempt(0)
    last_index: Index = Index(0)
    text: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    tool_calls: tuple[ToolCallFragment, ...] = ()
    spans: tuple[AttemptSpan, ...] = ()
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


def evolve(state: AnswerState, event: AnswerEvent, sequence: Sequence) -> AnswerState:
    """Raises nothing: what stands in the log has happened. A sequence that was folded already changes nothing."""
    if sequence <= state.sequence:
        return state
    replace = msgspec.structs.replace
    match event:
        case GenerationStarted():
            return replace(
                state,
                sequence=sequence,
                attempt=event.attempt,
                worker=event.worker,
                model=event.model,
                left_out=event.left_out,
                crashes=event.crashes,
                handed_over=False,
            )
        case TokenEmitted():
            return replace(
                state,
                sequence=sequence,
                last_index=event.index,
                text=(*state.text, event.text) if event.text else state.text,
                reasoning=(*state.reasoning, event.reasoning) if event.reasoning else state.reasoning,
                tool_calls=(*state.tool_calls, event.tool_call) if event.tool_call else state.tool_calls,
                spans=_spanned(state.spans, event, state.model),
            )
        case GenerationReset():
            return replace(state, sequence=sequence, text=(), reasoning=(), tool_calls=(), spans=())
        case GenerationHandedOver():
            return replace(state, sequence=sequence, handed_over=True, usage=event.usage)
        case GenerationEnded():
            return replace(state, sequence=sequence, ended=event)


def _spanned(spans: tuple[AttemptSpan, ...], event: TokenEmitted, model: str) -> tuple[AttemptSpan, ...]:
    if spans and spans[-1].attempt == event.attempt:
        return (*spans[:-1], msgspec.structs.replace(spans[-1], last_index=event.index))
    new = AttemptSpan(attempt=event.attempt, first_index=event.index, last_index=event.index, model=model)
    return (*spans, new)


def merged_tool_calls(fragments: tuple[ToolCallFragment, ...]) -> tuple[ToolCallFragment, ...]:
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


def end_fact(request: AnswerRequest, state: AnswerState, ended: GenerationEnded) -> AnswerEnd:
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
        "spans": state.spans,
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
