"""What a worker is to do with a request that it was given: begin, go on, finish or leave it. Pure.

A request comes to a worker for the first time or for the tenth; the log alone says which, and what is left to do.
"""

from collections.abc import Iterable

from msgspec import Struct

from shared.domain.answer import AnswerState
from shared.domain.events import (
    AnswerEnded,
    AnswerRequest,
    CancelRequested,
    ChatDeleted,
    Fact,
    GenerationEnded,
    Outcome,
    Problem,
)
from shared.domain.subjects import Attempt


class Settled(Struct, frozen=True):
    """The end stands in the log, or is not ours to write: only the acknowledgement is missing."""


class Gone(Struct, frozen=True):
    """The chat was deleted: nothing is to be written for it any more."""


class WriteFact(Struct, frozen=True):
    """The outcome is decided, its fact is missing."""

    ended: GenerationEnded


class EndNow(Struct, frozen=True):
    """It ends without a call of the provider."""

    outcome: Outcome
    error: Problem | None = None


class Generate(Struct, frozen=True, kw_only=True):
    """Call the provider. `go_on` after the text so far, or `reset`: drop it; neither at the beginning."""

    attempt: Attempt
    crashes: int
    go_on: bool
    reset: bool


Plan = Settled | Gone | WriteFact | EndNow | Generate


def plan(
    request: AnswerRequest,
    state: AnswerState,
    facts_since: Iterable[Fact],
    *,
    can_continue: bool,
    crashes_max: int,
) -> Plan:
    """`facts_since` are the chat's facts after the request. Only crashes count: a worker that handed over did not."""
    if request.imported:
        # It may have come between an import's request and its end. Whatever we wrote there would be a second end, so
        # nothing is: the importer writes it, or, where that has died, whoever ends the answers that nobody makes.
        return Settled()
    cancelled = False
    for fact in facts_since:
        match fact:
            case ChatDeleted():
                return Gone()
            case AnswerEnded() if fact.answer == request.answer:
                return Settled()
            case CancelRequested() if fact.answer == request.answer:
                cancelled = True
            case _:
                pass
    if state.ended is not None:
        return WriteFact(state.ended)
    if cancelled:
        return EndNow("cancelled")
    crashes = state.crashes + (1 if state.under_way else 0)
    if crashes >= crashes_max:
        return EndNow("failed", _crashed(crashes))
    return next_attempt(state, crashes=crashes, can_continue=can_continue)


def next_attempt(state: AnswerState, *, crashes: int, can_continue: bool) -> Generate:
    """A text can be gone on with where it is all there is: reasoning and tool calls cannot be handed back to a model."""
    begun = bool(state.text or state.reasoning or state.tool_calls)
    go_on = bool(state.text) and not state.tool_calls and can_continue
    return Generate(
        attempt=Attempt(state.attempt + 1),
        crashes=crashes,
        go_on=go_on,
        reset=begun and not go_on,
    )


def _crashed(crashes: int) -> Problem:
    return Problem(
        code="worker-crashed",
        title="The answer could not be made.",
        detail=f"The worker that made it died {crashes} times.",
        status=500,
    )
