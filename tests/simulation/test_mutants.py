"""Every broken variant of the services must be caught: this tests the simulation itself."""

import pytest

from tests.simulation.mutants import MUTANTS, Break
from tests.simulation.runs import caught

SEEDS = range(1, 1001)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__.replace("_", " "))
def test_is_caught(mutant: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant(monkeypatch)
    found = caught(SEEDS)
    assert found is not None, f"{mutant.__name__} came through {len(SEEDS)} runs"
    print(f"seed {found[0]}: {str(found[1]).splitlines()[0]}")
