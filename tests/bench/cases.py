"""The cases: each puts a load on one target and returns what it measured."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.bench.plans import Answers, Idle, Outcome, Release, Resume, Watch
from tests.bench.processes import Load
from tests.bench.targets import Target
from tests.bench.tokens import Model

Figures = dict[str, float]
Case = Callable[["Run"], Awaitable[Figures]]
MODEL_PREFIX = "bench/"
PACE = 50.0
CLIENTS_MAX = 10_000
MANY = 1000
"""From so many clients on, each answer has fewer tokens."""
_PACED_NAME = re.compile(r"([0-9]{1,5})x([0-9]{1,4})")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much a run asks for."""

    short_answers: int
    paced_tokens: int
    many_tokens: int
    """Tokens of each of the 1,000 answers."""
    burst_tokens: int = 500
    watched_tokens: int = 200
    watchers: int = 1000
    resumes: int = 20
    missed: int = 300
    crashed_answers: int = 20
    crashed_tokens: int = 200
    rest_seconds: float = 20.0
    """Time that a target has to come to rest before and after a case."""

    @property
    def watched(self) -> Model:
        """Returns the answer that many watch; they have a lead to connect."""
        return Model(self.watched_tokens, PACE, 3.0)

    @property
    def resumed(self) -> Model:
        """Returns the answer in whose middle clients come back."""
        return Model(3 * self.missed + 100, 250.0)

    @property
    def crashed(self) -> Model:
        return Model(self.crashed_tokens, PACE)


WHOLE = Size(short_answers=200, paced_tokens=200, many_tokens=50)
QUICK = Size(short_answers=60, paced_tokens=100, many_tokens=25, watched_tokens=50, watchers=300, resumes=10)
TINY = Size(
    short_answers=2,
    paced_tokens=5,
    many_tokens=2,
    burst_tokens=40,
    watched_tokens=5,
    watchers=10,
    resumes=2,
    missed=20,
    crashed_answers=3,
    crashed_tokens=150,
    rest_seconds=0.5,
)
SHORT_TOKENS = 3
SPREAD_SECONDS = 2.0
CRASH_AFTER_SECONDS = 1.5
CRASH_SILENCE_SECONDS = 30.0
SILENT = Model(2, 0.01)
"""Its second token comes after 100 s: longer than idle watchers are held."""
SHARED_STREAMS = {"redis", "unspool"}
"""Targets whose answers have a stream of their own, which many can read."""


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
        await target.settle(self.size.rest_seconds)
        before = target.processor_seconds()
        asked = Answers(
            dialect=dialect or target.name,
            urls=target.urls,
            model=MODEL_PREFIX + model.name,
            **plan,  # type: ignore[arg-type] # numbers
        )
        outcome = await self.load.run(asked)
        spent = {name: seconds - before[name] for name, seconds in target.processor_seconds().items()}
        await self.check(outcome)
        return outcome, spent

    async def check(self, outcome: Outcome) -> None:
        """Raises `WrongAnswerError` for the product if an answer is not exact.

        Reports it for a baseline, and restarts that, so that it does not work on while the next target is measured.
        """
        if outcome.complete == outcome.answers:
            return
        said = (
            f"{self.target.name}: {outcome.answers - outcome.complete} of {outcome.answers} answers are not exact: "
            + "; ".join(outcome.errors)
        )
        if self.target.name == "unspool":
            raise WrongAnswerError(said)
        print(said, file=sys.stderr)
        if self.target.restart:
            await self.target.restart()


class WrongAnswerError(Exception):
    """A target lost, repeated or changed a part of an answer. Its figures count for nothing."""


def models(size: Size, cases: Iterable[str]) -> list[str]:
    """Returns the names of all models that the cases ask for."""
    paced = [_paced_model(size, *numbers) for case in cases if (numbers := _clients_and_pace(case))]
    others = (Model(SHORT_TOKENS), Model(size.burst_tokens), size.watched, size.resumed, size.crashed, SILENT)
    return sorted({model.name for model in (*paced, *others)})


def _clients_and_pace(case: str) -> tuple[int, float] | None:
    found = _PACED_NAME.fullmatch(case)
    return (int(found[1]), float(found[2])) if found else None


def _paced_model(size: Size, clients: int, pace: float) -> Model:
    return Model(size.paced_tokens if clients < MANY else size.many_tokens, pace)


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


def _paced(clients: int, pace: float) -> Case:
    async def case(run: Run) -> Figures:
        model = _paced_model(run.size, clients, pace)
        outcome, spent = await run.answers(model, clients=clients, spread_seconds=SPREAD_SECONDS)
        figures = {
            "latency_p50_ms": outcome.latency.p50,
            "latency_p99_ms": outcome.latency.p99,
            "first_token_p50_ms": outcome.first_token.p50,
            "tokens_per_second": outcome.tokens_per_second,
        }
        if outcome.asking_seconds:
            figures["asking_seconds"] = outcome.asking_seconds
        return figures | _split(spent, "processor_s_per_1m", 1e6 / max(1, outcome.tokens))

    return case


async def burst(run: Run) -> Figures:
    """Lets 64 clients ask at once for answers that the provider sends as fast as it can."""
    outcome, spent = await run.answers(Model(run.size.burst_tokens), clients=64)
    return {"tokens_per_second": outcome.tokens_per_second} | _split(
        spent, "processor_s_per_1m", 1e6 / max(1, outcome.tokens)
    )


async def fan_out(run: Run) -> Figures:
    """Lets many watchers read one answer."""
    target, size = run.target, run.size
    if target.name not in SHARED_STREAMS:
        return {}
    await target.settle(size.rest_seconds)
    before = target.processor_seconds()
    model = MODEL_PREFIX + size.watched.name
    outcome = await run.load.run(
        Watch(dialect=target.name, urls=target.urls, model=model, watchers=size.watchers)
    )
    spent = {name: seconds - before[name] for name, seconds in target.processor_seconds().items()}
    await run.check(outcome)
    return {
        "tokens_per_second": outcome.tokens_per_second,
        "latency_p50_ms": outcome.latency.p50,
        "latency_p99_ms": outcome.latency.p99,
    } | _split(spent, "processor_s_per_1m", 1e6 / max(1, outcome.tokens))


async def resume(run: Run) -> Figures:
    """Lets clients come back in mid-answer, with a cursor that is 300 tokens old."""
    target, size = run.target, run.size
    if target.name not in SHARED_STREAMS:
        return {}
    await target.settle(size.rest_seconds)
    model = MODEL_PREFIX + size.resumed.name
    plan = Resume(
        dialect=target.name,
        urls=target.urls,
        model=model,
        missed=size.missed,
        times=size.resumes,
        pause_seconds=0.05,
    )
    outcome = await run.load.run(plan)
    await run.check(outcome)
    return {"caught_up_p50_ms": outcome.catch_up.p50, "caught_up_p99_ms": outcome.catch_up.p99}


async def idle_watchers(run: Run) -> Figures:
    """Measures the growth of new API processes over idle watchers, after a few answers."""
    target, size = run.target, run.size
    if target.restart is None:
        return {}
    await target.restart()
    await run.answers(Model(SHORT_TOKENS), clients=10, answers_each=2)
    await target.settle(size.rest_seconds)
    before = target.api_memory_bytes()
    plan = Idle(
        dialect=target.name,
        urls=target.urls,
        model=MODEL_PREFIX + SILENT.name,
        watchers=size.watchers,
        shared=target.name in SHARED_STREAMS,
    )
    outcome = await run.load.run(plan)
    await target.settle(size.rest_seconds)
    grown = target.api_memory_bytes() - before
    await run.load.run(Release())
    await run.check(outcome)
    return {"memory_kb_per_watcher": grown / 1000 / size.watchers}


async def crash(run: Run) -> Figures:
    """Kills the API and the worker with SIGKILL in the middle of answers, and starts them again at once."""
    target, size = run.target, run.size
    if target.restart is None:
        return {}
    await target.settle(size.rest_seconds)
    plan = Answers(
        dialect=target.name,
        urls=target.urls,
        model=MODEL_PREFIX + size.crashed.name,
        clients=size.crashed_answers,
        resume=target.name in SHARED_STREAMS,
        silence_seconds=CRASH_SILENCE_SECONDS,
    )
    running = asyncio.create_task(run.load.run(plan))
    await asyncio.sleep(CRASH_AFTER_SECONDS)
    await target.restart()
    outcome = await running
    if target.name == "unspool":
        await run.check(outcome)
    return {"answers": outcome.answers, "exact_answers": outcome.complete}


def _split(spent: Mapping[str, float], name: str, factor: float) -> Figures:
    """Returns the whole processor time, and that of each kind of process."""
    figures = {name: sum(spent.values()) * factor} if spent else {}
    return figures | {f"{name}.{process}": seconds * factor for process, seconds in spent.items()}


CASES: Mapping[str, Case] = {
    "short-answer": short_answer,
    "one-call": short_answer_in_one_call,
    "50x50": _paced(50, PACE),
    "200x50": _paced(200, PACE),
    "burst": burst,
    "1000x50": _paced(1000, PACE),
    "fan-out": fan_out,
    "resume": resume,
    "idle-watchers": idle_watchers,
    "crash": crash,
}


def find_case(name: str) -> Case:
    """Returns a case by its name; `4000x25` are 4,000 answers at 25 tokens/s. Raises `ValueError` if there is none."""
    if name in CASES:
        return CASES[name]
    numbers = _clients_and_pace(name)
    if not numbers or not 0 < numbers[0] <= CLIENTS_MAX or not numbers[1]:
        raise ValueError(
            f"no case {name!r}: choose one of {', '.join(CASES)}, or ANSWERSxPACE such as 4000x25"
        )
    return _paced(*numbers)


QUICK_CASES = ("short-answer", "one-call", "50x50", "200x50", "burst")
