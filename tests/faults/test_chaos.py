"""The chaos run, short: each kind of fault once, in the order that a seed gives, under load. See `unspool chaos`."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from infra.chaos.run import Options, run
from infra.chaos.schedule import Kind, schedule

SEED = 4


@pytest.mark.timeout(400)
async def test_nothing_is_lost_doubled_or_wrong_whatever_dies(data_directory: Path) -> None:
    options = Options(seconds=200, seed=SEED, faults_max=len(Kind) + 2, people=8, ack_wait_seconds=2.0)
    async with asyncio.timeout(390):
        report = await run(options, data_directory)
    print(report.text())
    assert report.findings == []
    assert report.witness.asked
    assert {window.kind for window in report.windows} == set(Kind)


@pytest.mark.parametrize("seed", [random.Random(SEED).getrandbits(32) for _ in range(3)])
def test_a_seed_gives_the_same_faults_again_and_each_kind_before_any_twice(seed: int) -> None:
    def made(seed: int) -> list[object]:
        return list(schedule(seed, count=40, apis=2, generators=3, ack_wait_seconds=3.0))

    faults = schedule(seed, count=40, apis=2, generators=3, ack_wait_seconds=3.0)
    assert made(seed) == faults != made(seed + 1)
    assert Counter(fault.kind for fault in faults[: len(Kind)]) == Counter(Kind)
    stops = [fault for fault in faults if fault.kind is Kind.GENERATOR_STOP]
    assert all(fault.away_seconds > 3.0 for fault in stops)
