"""`unspool test`: the checks, then the tests. A step that fails does not keep the next one from being run."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType

CHECKOUT = Path(__file__).parent.parent
WORKERS_MAX = 4
"""Processes of pytest at most: each has its own NATS and Postgres."""
SLOWEST_SHOWN = 10

Step = tuple[str, ...]

CHECKS: Mapping[str, Step] = MappingProxyType(
    {
        "ruff check": ("-m", "ruff", "check", "."),
        "ruff format": ("-m", "ruff", "format", "--check", "."),
        "import contracts": ("-c", "from importlinter.cli import lint_imports_command as run; run()"),
        "mypy": ("-m", "mypy"),
    }
)


def main(pytest_arguments: Sequence[str], *, fast: bool = False) -> int:
    """Runs every check and the tests of a lane. Returns 0 if all passed, else 1.

    The tests come last, so that pytest's closing line is the last line of all when everything passed. In the fast
    lane checks and tests run side by side, and the output of each is printed when it has ended.
    """
    tests = {"pytest": pytest_step(pytest_arguments, fast=fast, processors=os.cpu_count() or 1)}
    failed = _run_side_by_side(CHECKS, tests) if fast else [*_run(CHECKS), *_run(tests)]
    if failed:
        print(f"unspool test: failed: {', '.join(failed)}", file=sys.stderr, flush=True)
        return 1
    return 0


def run_bench(arguments: Sequence[str]) -> int:
    """Runs the bench, a program of the tests, as a process. Returns its exit status."""
    return _start(("-m", "tests.bench", *arguments)).returncode


def pytest_step(arguments: Sequence[str], *, fast: bool, processors: int) -> Step:
    """Returns the call of pytest for a lane.

    The fast lane is the unit tests, in one process. The whole suite is spread over the processors by file, in the
    order of collection: its longest files come first. With arguments, pytest gets these alone, and runs in one process.
    """
    if arguments:
        only_options = fast and not any((CHECKOUT / given.partition("::")[0]).exists() for given in arguments)
        return ("-m", "pytest", *arguments, *(["tests/unit"] if only_options else []))
    if fast:
        return ("-m", "pytest", "tests/unit")
    workers = str(min(processors, WORKERS_MAX))
    spread = ("-n", workers, "--dist", "loadfile", "--no-loadscope-reorder")
    return ("-m", "pytest", *spread, f"--durations={SLOWEST_SHOWN}")


def _run(steps: Mapping[str, Step]) -> list[str]:
    """Returns the names of the steps that failed. Shows their output at once."""
    failed = []
    for name, step in steps.items():
        print(f"== {name}", flush=True)
        if _start(step).returncode != 0:
            failed.append(name)
    return failed


def _run_side_by_side(checks: Mapping[str, Step], tests: Mapping[str, Step]) -> list[str]:
    """Returns the names of the steps that failed. The tests' output comes after that of all checks."""
    failed = []
    with ThreadPoolExecutor(max_workers=2) as threads:
        in_order = threads.submit(lambda: [_start(step, capture=True) for step in checks.values()])
        others = [threads.submit(_start, step, capture=True) for step in tests.values()]
        done = [*in_order.result(), *(other.result() for other in others)]
        for name, step in zip([*checks, *tests], done, strict=True):
            print(f"== {name}\n{step.stdout}", end="", flush=True)
            if step.returncode != 0:
                failed.append(name)
    return failed


def _start(step: Step, *, capture: bool = False) -> subprocess.CompletedProcess[str]:
    # Tests find the checkout by pytest's settings, and must see no settings of the person who runs them.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("UNSPOOL_")}
    return subprocess.run(
        [sys.executable, *step],
        cwd=CHECKOUT,
        env=environ,
        check=False,
        text=True,
        stdout=subprocess.PIPE if capture else None,
        stderr=subprocess.STDOUT if capture else None,
    )
