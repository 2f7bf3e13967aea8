"""The services with a log, a network, a database and clients that fail as a seed decides.

`UNSPOOL_SIMULATION_RUNS=5000` sets the number of runs, `UNSPOOL_SIMULATION_FROM` the first seed. A failure names its
seed; `UNSPOOL_SIMULATION_SEED=n` repeats that run step by step with its trace. In every fifth run the broker loses
messages that it acknowledged shortly before.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.runs import digest, run

RUNS = int(os.environ.get("UNSPOOL_SIMULATION_RUNS", "2000"))
FROM = int(os.environ.get("UNSPOOL_SIMULATION_FROM", "1"))
ONE = os.environ.get("UNSPOOL_SIMULATION_SEED")
BATCH = 50
CHECKOUT = Path(__file__).parents[2]


def batches() -> list[range]:
    if ONE is not None:
        return [range(int(ONE), int(ONE) + 1)]
    end = FROM + RUNS
    return [range(first, min(first + BATCH, end)) for first in range(FROM, end, BATCH)]


@pytest.mark.parametrize("seeds", batches(), ids=lambda seeds: f"seeds {seeds[0]} to {seeds[-1]}")
def test_whatever_dies_nothing_is_lost_and_nothing_comes_twice(seeds: range) -> None:
    for seed in seeds:
        run(seed)


def test_a_seed_replays_its_run_in_any_process() -> None:
    command = "from tests.simulation.runs import digest; print(digest(11))"
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", command],
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == digest(11)
