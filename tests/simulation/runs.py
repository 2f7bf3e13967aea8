"""Runs by seed, and the report when an invariant is violated."""

import gc
import hashlib

from tests.simulation.trace import Violation
from tests.simulation.world import World, plan_of

# Imported objects live for ever: the collections between runs, which free the runs' cycles, skip them.
gc.collect()
gc.freeze()

_LINES_SHOWN = 150
_RUNS_BETWEEN_COLLECTIONS = 20


def run(seed: int) -> World:
    """Runs a seed. Raises `Violation` with the end of the trace and the command to repeat the run."""
    world = World(plan_of(seed))
    try:
        world.run()
    except Violation as broken:
        trace = "\n".join(world.trace.lines[-_LINES_SHOWN:])
        again = f"UNSPOOL_SIMULATION_SEED={seed} pytest tests/simulation/test_simulation.py"
        raise Violation(
            f"seed {seed}: {broken}\n\n{trace}\n\n{world.plan}\nTo run it again: {again}"
        ) from None
    finally:
        if seed % _RUNS_BETWEEN_COLLECTIONS == 0:
            gc.collect()
    return world


def digest(seed: int) -> str:
    """Returns a hash of everything that happened in a run."""
    return hashlib.sha256("\n".join(run(seed).trace.lines).encode()).hexdigest()


def caught(seeds: range) -> tuple[int, Violation] | None:
    """Returns the first seed that violates an invariant, and the violation."""
    for seed in seeds:
        try:
            run(seed)
        except Violation as broken:
            return seed, broken
    return None
