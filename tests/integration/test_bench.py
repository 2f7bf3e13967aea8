"""The bench runs, and finds every answer exact. No time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.cases import CASES
from tests.support.system import ROOT


@pytest.mark.timeout(300)  # it starts four systems
def test_the_bench_measures_exact_answers_and_writes_its_figures(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    cases = ("short-answer", "one-call", "burst", "fan-out", "resume")
    chosen = [argument for case in cases for argument in ("--case", case)]
    command = [
        sys.executable,
        "-m",
        "tests.bench",
        "--tiny",
        *chosen,
        "--json",
        str(file),
        "--plots",
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    figures = json.loads(file.read_text())["rounds"]
    assert set(figures) == set(cases) <= set(CASES)
    [short] = figures["short-answer"]["unspool"]
    assert short["first_token_p50_ms"] > 0
    assert short["nats_messages"] > 0
    assert {path.name for path in tmp_path.glob("*.png")} >= {"processor.png"}
    assert "| processor time of one short answer" in done.stdout
    again = [sys.executable, "-m", "tests.bench", "--read", str(file)]
    assert subprocess.run(again, cwd=ROOT, capture_output=True, text=True, check=True).stdout == done.stdout
