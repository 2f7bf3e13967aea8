"""The schedule of faults, with their targets and durations, as a function of a seed. Pure."""

import random
from enum import StrEnum

from msgspec import Struct

LONGER_THAN_ACK_WAIT = 1.3, 2.0
"""The factor of `ack_wait` for which a generator is paused: another takes over before it resumes as a zombie."""
CALM_SECONDS = 0.5, 3.0
AT_ONCE = 0.15
"""The share of faults that do not wait for the end of the previous one."""


class Kind(StrEnum):
    """The kinds of faults."""

    GENERATOR_KILL = "generator kill -9"
    GENERATOR_TERM = "generator SIGTERM"
    GENERATOR_STOP = "generator SIGSTOP"
    API_KILL = "API kill -9"
    API_TERM = "API SIGTERM"
    API_STOP = "API SIGSTOP"
    NATS_KILL = "NATS kill -9"
    NATS_STOP = "NATS SIGSTOP"
    POSTGRES_KILL = "Postgres kill -9"
    CUT = "connections cut"


# Seconds until the target is started or resumed. A SIGTERM is a deploy: the next process starts at once.
_AWAY_SECONDS = {
    Kind.GENERATOR_KILL: (0.0, 3.0),
    Kind.GENERATOR_TERM: (0.0, 0.0),
    Kind.API_KILL: (0.0, 2.0),
    Kind.API_TERM: (0.0, 0.0),
    Kind.API_STOP: (1.0, 4.0),
    Kind.NATS_KILL: (0.0, 3.0),
    Kind.NATS_STOP: (0.5, 4.0),
    Kind.POSTGRES_KILL: (0.0, 3.0),
    Kind.CUT: (0.0, 0.0),
}
_WEIGHTS = {kind: 3 if "generator" in kind else 2 for kind in Kind}


class Fault(Struct, frozen=True):
    """One fault, `after_seconds` after the end of the previous one, or after its beginning with `at_once`."""

    kind: Kind
    target: int
    away_seconds: float
    after_seconds: float
    at_once: bool


def schedule(seed: int, *, count: int, apis: int, generators: int, ack_wait_seconds: float) -> list[Fault]:
    """Returns the faults of a seed. Every kind occurs once before any repeats, so that a short run has all kinds."""
    chance = random.Random(seed)  # noqa: S311 - the seed reproduces the schedule
    kinds = list(Kind)
    chance.shuffle(kinds)
    weights = [_WEIGHTS[kind] for kind in Kind]
    kinds += chance.choices(list(Kind), weights, k=max(0, count - len(kinds)))
    return [_fault(kind, chance, apis, generators, ack_wait_seconds) for kind in kinds[:count]]


def _fault(kind: Kind, chance: random.Random, apis: int, generators: int, ack_wait_seconds: float) -> Fault:
    if kind is Kind.GENERATOR_STOP:
        low, high = (times * ack_wait_seconds for times in LONGER_THAN_ACK_WAIT)
    else:
        low, high = _AWAY_SECONDS[kind]
    targets = generators if "generator" in kind else apis if "API" in kind else 1
    return Fault(
        kind=kind,
        target=chance.randrange(targets),
        away_seconds=round(chance.uniform(low, high), 2),
        after_seconds=round(chance.uniform(*CALM_SECONDS), 2),
        at_once=chance.random() < AT_ONCE,
    )
