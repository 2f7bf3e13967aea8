"""Metrics of a generator process. Labels are few and bounded: configured providers, never values from clients."""

from collections.abc import Awaitable, Iterable
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram

from services.generator.takeover import Generate, Plan, WriteFact
from shared.domain.answer import AnswerState
from shared.domain.errors import ProviderError
from shared.domain.events import GenerationEnded, Outcome

T = TypeVar("T")

ANSWERS = Counter(
    "unspool_answers",
    "Answers whose end is stored in the log, by outcome. code: the reason of a failure.",
    ["provider", "outcome", "code"],
)
ATTEMPTS = Counter("unspool_attempts", "Calls of a provider for an answer.", ["provider"])
ATTEMPTS_PER_ANSWER = Histogram(
    "unspool_answer_attempts", "Attempts per ended answer.", buckets=(1, 2, 3, 5, 10)
)
PROVIDER_ERRORS = Counter(
    "unspool_provider_errors", "Attempts that ended with an error of the provider.", ["provider", "kind"]
)
PROVIDER_RETRIES = Counter(
    "unspool_provider_retries",
    "Retries of calls to a provider that was overloaded or unreachable.",
    ["provider"],
)
TOKENS = Counter(
    "unspool_tokens", "Tokens of ended answers, by the count of the provider.", ["provider", "direction"]
)
TAKEOVERS = Counter(
    "unspool_takeovers",
    "Answers continued after another worker crashed, handed over or ended them.",
    ["from"],
)
HANDED_OVER = Counter("unspool_handed_over", "Answers that this worker handed over at its shutdown.")
FENCED = Counter("unspool_fenced", "Answers that this worker gave up because another worker took them over.")
CRASHES = Counter(
    "unspool_generation_crashes", "Requests that failed with an internal error of the generator."
)
IN_FLIGHT = Gauge("unspool_answers_in_flight", "Answers that this worker generates now.")
ROOM = Gauge("unspool_answers_in_flight_max", "Limit of answers that this worker generates at a time.")

_OTHER = "other"
_OUTCOMES: tuple[Outcome, ...] = ("completed", "cancelled", "failed")
_KINDS = ("provider-unavailable", "provider-refused", "provider-interrupted", "provider-error")
_CODES = {*_KINDS, "internal", "worker-crashed", "imported"}
_providers: set[str] = set()


def know(providers: Iterable[str]) -> None:
    """Creates the series of all providers with the value 0, because a rate needs a value to rise from."""
    _providers.update(providers)
    for name in (*_providers, _OTHER):
        for outcome in _OUTCOMES:
            ANSWERS.labels(name, outcome, "")
        for kind in _KINDS:
            PROVIDER_ERRORS.labels(name, kind)
        ATTEMPTS.labels(name)
        PROVIDER_RETRIES.labels(name)
    for left in ("crashed", "handed-over", "ended"):
        TAKEOVERS.labels(left)


def provider_of(model: str) -> str:
    name = model.partition("/")[0]
    return name if name in _providers else _OTHER


async def attempt(model: str, call: Awaitable[T]) -> T:
    provider = provider_of(model)
    ATTEMPTS.labels(provider).inc()
    try:
        return await call
    except ProviderError as error:
        PROVIDER_ERRORS.labels(provider, error.code).inc()
        raise


def planned(todo: Plan, state: AnswerState) -> None:
    if not state.attempt:
        return
    if isinstance(todo, WriteFact):
        TAKEOVERS.labels("ended").inc()
    elif isinstance(todo, Generate):
        TAKEOVERS.labels("handed-over" if state.handed_over else "crashed").inc()


def ended(model: str, end: GenerationEnded) -> None:
    provider, code = provider_of(model), end.error.code if end.error else ""
    ANSWERS.labels(provider, end.outcome, code if not code or code in _CODES else _OTHER).inc()
    ATTEMPTS_PER_ANSWER.observe(end.attempt)
    TOKENS.labels(provider, "input").inc(end.usage.input_tokens)
    TOKENS.labels(provider, "output").inc(end.usage.output_tokens)
