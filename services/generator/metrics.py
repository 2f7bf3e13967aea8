"""What a generator tells of itself. Labels are few and bounded: providers as configured, never a client's words."""

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
    "Answers whose end is in the log, by outcome; code says why one failed.",
    ["provider", "outcome", "code"],
)
ATTEMPTS = Counter("unspool_attempts", "Calls of a provider for an answer.", ["provider"])
ATTEMPTS_PER_ANSWER = Histogram(
    "unspool_answer_attempts", "Attempts that an answer took to its end.", buckets=(1, 2, 3, 5, 10)
)
PROVIDER_ERRORS = Counter(
    "unspool_provider_errors", "Attempts that a provider's error ended.", ["provider", "kind"]
)
PROVIDER_RETRIES = Counter(
    "unspool_provider_retries", "Calls again to a provider that was busy or away.", ["provider"]
)
TOKENS = Counter(
    "unspool_tokens", "Tokens of ended answers, as their provider counts them.", ["provider", "direction"]
)
TAKEOVERS = Counter(
    "unspool_takeovers", "Answers gone on with that another worker had begun: it crashed, or left.", ["from"]
)
HANDED_OVER = Counter("unspool_handed_over", "Answers given back by this worker, which was told to stop.")
FENCED = Counter("unspool_fenced", "Answers that another worker had taken over from this one.")
CRASHES = Counter("unspool_generation_crashes", "Requests at which this code itself failed.")
IN_FLIGHT = Gauge("unspool_answers_in_flight", "Answers that this worker makes now.")
ROOM = Gauge("unspool_answers_in_flight_max", "Answers that this worker makes at most.")

_OTHER = "other"
_OUTCOMES: tuple[Outcome, ...] = ("completed", "cancelled", "failed")
_KINDS = ("provider-unavailable", "provider-refused", "provider-interrupted", "provider-error")
_CODES = {*_KINDS, "internal", "worker-crashed", "imported"}
_providers: set[str] = set()


def know(providers: Iterable[str]) -> None:
    """The providers that there are. Their series begin at zero: a rate needs something to rise from."""
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
