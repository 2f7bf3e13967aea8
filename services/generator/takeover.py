"""Plans the work for a delivered request: begin, continue, finish or leave it. Pure.

A request may be delivered several times. Only the log tells what was done before.
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
    """Acknowledge only: the end is stored, or another process writes it."""


class Gone(Struct, frozen=True):
    """Write nothing: the chat was deleted."""


class WriteFact(Struct, frozen=True):
    """Append the fact: the outcome is decided on the answer's subject, and its fact is missing."""

    ended: GenerationEnded


class EndNow(Struct, frozen=True):
    """End the answer without a call of the provider."""

    outcome: Outcome
    error: Problem | None = None


class Generate(Struct, frozen=True, kw_only=True):
    """Call the provider: `go_on` continues the text so far, `reset` drops it. Neither is set if there is none."""

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
    """Returns the plan from the facts of the chat after the request. A handover does not count as a crash."""
    if request.imported:
        # The request may lie before its imported end: an end from here would be a second one. The importer writes it,
        # or, if the importer died, the orphan reaper.
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
    """Returns the next attempt. It continues the text only if there are no tool calls, which a model cannot take back."""
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
