"""The cases: each puts a load on one target and returns what it measured."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.bench.plans import Answers, Outcome
from tests.bench.processes import Load
from tests.bench.targets import Target
from tests.bench.tokens import Model

Figures = dict[str, float]
Case = Callable[["Run"], Awaitable[Figures]]
MODEL_PREFIX = "bench/"


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a run asks for."""

    short_answers: int
    paced_tokens: int
    many_tokens: int
    """Tokens of each of the 1,000 answers."""
    burst_tokens: int = 500


WHOLE = Size(short_answers=200, paced_tokens=200, many_tokens=100)
QUICK = Size(short_answers=60, paced_tokens=100, many_tokens=25)
TINY = Size(short_answers=2, paced_tokens=5, many_tokens=2, burst_tokens=40)
SHORT_TOKENS = 3
PACE = 50.0
SPREAD_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a case on one target."""

    target: Target
    load: Load
    size: Size

    async def answers(
        self, model: Model, *, dialect: str = "", **plan: float
    ) -> tuple[Outcome, dict[str, float]]:
        """Returns the outcome, and the processor time by process. Raises `WrongAnswerError` if an answer is not exact."""
        target = self.target
        await target.settle()
        before = target.processor_seconds()
        asked = Answers(
            dialect=dialect or target.name,
            urls=target.urls,
            model=MODEL_PREFIX + model.name,
            **plan,  # type: ignore[arg-type] # numbers
        )
        outcome = await self.load.run(asked)
        spent = {name: seconds - before[name] for name, seconds in target.processor_seconds().items()}
        if outcome.complete != outcome.answers:
            raise WrongAnswerError(
                f"{target.name}: {outcome.answers - outcome.complete} of {outcome.answers} answers are not exact: "
                + "; ".join(outcome.errors)
            )
        return outcome, spent


class WrongAnswerError(Exception):
    """A target lost, repeated or changed a part of an answer. Its figures count for nothing."""


def _models(size: Size) -> dict[str, Model]:
    return {
        "short-answer": Model(SHORT_TOKENS),
        "50x50": Model(size.paced_tokens, PACE),
        "200x50": Model(size.paced_tokens, PACE),
        "1000x50": Model(size.many_tokens, PACE),
        "burst": Model(size.burst_tokens),
    }


def models(size: Size) -> list[str]:
    """Returns the names of all models that the cases ask for."""
    return sorted({model.name for model in _models(size).values()})


async def short_answer(run: Run) -> Figures:
    """Lets one client create a chat, ask, and read 3 tokens; again and again."""
    messages = await run.target.nats_messages()
    count = run.size.short_answers
    outcome, spent = await run.answers(Model(SHORT_TOKENS), answers_each=count)
    messages = await run.target.nats_messages() - messages
    figures = {"first_token_p50_ms": outcome.first_token.p50, "first_token_p99_ms": outcome.first_token.p99}
    figures |= _split(spent, "processor_ms", 1000 / count)
    if messages:
        figures["nats_messages"] = messages / count
    return figures


async def short_answer_in_one_call(run: Run) -> Figures:
    """Does the same, but the answer streams in the response to the question. For the product only."""
    if run.target.name != "unspool":
        return {}
    count = run.size.short_answers
    model = Model(SHORT_TOKENS)
    outcome, spent = await run.answers(model, dialect="unspool-one-call", answers_each=count)
    return {"first_token_p50_ms": outcome.first_token.p50} | _split(spent, "processor_ms", 1000 / count)


def _paced(name: str, clients: int) -> Case:
    async def case(run: Run) -> Figures:
        model = _models(run.size)[name]
        outcome, spent = await run.answers(model, clients=clients, spread_seconds=SPREAD_SECONDS)
        return {
            "latency_p50_ms": outcome.latency.p50,
            "latency_p99_ms": outcome.latency.p99,
            "first_token_p50_ms": outcome.first_token.p50,
            "asking_seconds": outcome.asking_seconds,
            "tokens_per_second": outcome.tokens_per_second,
        } | _split(spent, "processor_s_per_1m", 1e6 / outcome.tokens)

    return case


async def burst(run: Run) -> Figures:
    """Lets 64 clients ask at once for answers that the provider sends as fast as it can."""
    outcome, spent = await run.answers(_models(run.size)["burst"], clients=64)
    return {"tokens_per_second": outcome.tokens_per_second} | _split(
        spent, "processor_s_per_1m", 1e6 / outcome.tokens
    )


def _split(spent: Mapping[str, float], name: str, factor: float) -> Figures:
    """Returns the whole processor time, and that of each kind of process."""
    figures = {name: sum(spent.values()) * factor} if spent else {}
    return figures | {f"{name}.{process}": seconds * factor for process, seconds in spent.items()}


CASES: Mapping[str, Case] = {
    "short-answer": short_answer,
    "one-call": short_answer_in_one_call,
    "50x50": _paced("50x50", 50),
    "200x50": _paced("200x50", 200),
    "burst": burst,
    "1000x50": _paced("1000x50", 1000),
}
QUICK_CASES = ("short-answer", "one-call", "50x50", "200x50", "burst")
