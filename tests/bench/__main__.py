"""The bench: `unspool bench`, or `python -m tests.bench`. Every answer is checked to the letter."""

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench import report
from tests.bench.cases import (
    CASES,
    QUICK,
    QUICK_CASES,
    TINY,
    WHOLE,
    Figures,
    Run,
    WrongAnswerError,
    find_case,
    models,
)
from tests.bench.processes import run_load, run_provider
from tests.bench.targets import Target, has_redis, run_direct, run_proxy, run_redis, run_unspool
from tests.support.servers import temporary_data

ROUNDS_MAX = 100
CASES_HELP = f"only this one; can be repeated: {', '.join(CASES)}, or ANSWERSxPACE such as 4000x25"
ROUND_SECONDS = 900.0
"""A case that takes longer than this on one target ends the bench."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Returns the options. Ends the process with a message if they are wrong."""
    parser = argparse.ArgumentParser(prog="unspool bench", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round of smaller cases: about a minute")
    add("--tiny", action="store_true", help="a few answers only: a check, no figures")
    add("--case", dest="cases", action="append", metavar="NAME", help=CASES_HELP)
    add(
        "--only",
        dest="targets",
        action="append",
        choices=[*TARGETS],
        help="only this target; can be repeated",
    )
    add("--rounds", type=int, metavar="N", help="rounds, whose medians count; default: 3, 1 if quick")
    add("--apis", type=int, default=1, metavar="N", help="API processes of Unspool; default: 1")
    add("--generators", type=int, default=1, metavar="N", help="generator processes of Unspool; default: 1")
    add(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of Unspool",
    )
    add("--json", type=Path, metavar="FILE", help="where to write all figures")
    add("--plots", type=Path, metavar="DIR", help="where to draw the figures, as PNG files")
    add("--read", type=Path, metavar="FILE", help="show what --json wrote, and measure nothing")
    add("--data", type=Path, metavar="DIR", help="where data and logs stay; default: a temporary directory")
    options = parser.parse_args(arguments)
    small = options.quick or options.tiny
    options.rounds = options.rounds or (1 if small else 3)
    if not 1 <= options.rounds <= ROUNDS_MAX:
        parser.error(f"--rounds: 1 to {ROUNDS_MAX}")
    options.cases = options.cases or [*(QUICK_CASES if small else CASES)]
    try:
        for case in options.cases:
            find_case(case)
    except ValueError as error:
        parser.error(str(error))
    options.targets = options.targets or [*TARGETS]
    if "redis" in options.targets and not has_redis():
        print("unspool bench: baseline (b) is skipped: redis-server is not installed", file=sys.stderr)
        options.targets.remove("redis")
    options.size = TINY if options.tiny else QUICK if options.quick else WHOLE
    return options


TARGETS = ("direct", "proxy", "redis", "unspool")
"""The provider alone, baseline (a), baseline (b), the product."""


async def measure(options: argparse.Namespace, directory: Path, run: Mapping[str, Any]) -> report.Rounds:
    """Returns the figures of all rounds. Targets take turns in each round, so that all meet the same machine."""
    rounds: dict[str, dict[str, list[Figures]]] = {
        case: {target: [] for target in options.targets} for case in options.cases
    }
    async with contextlib.AsyncExitStack() as stack:
        provider = await stack.enter_async_context(run_provider(directory))
        load = await stack.enter_async_context(run_load())
        targets = [await start(stack, name, options, directory, provider) for name in options.targets]
        for number in range(1, options.rounds + 1):
            for case in options.cases:
                for target in targets:
                    print(
                        f"round {number} of {options.rounds}: {case}, {target.name}",
                        file=sys.stderr,
                        flush=True,
                    )
                    async with asyncio.timeout(ROUND_SECONDS):
                        figures = await find_case(case)(Run(target=target, load=load, size=options.size))
                    rounds[case][target.name].append(figures)
                    # The projector and the like must not work on while the next target is measured.
                    await target.settle(options.size.rest_seconds)
            if options.json:  # so that a failure in a later round does not lose this one
                report.write_json(options.json, run, rounds)
    return rounds


async def start(
    stack: contextlib.AsyncExitStack, name: str, options: argparse.Namespace, directory: Path, provider: str
) -> Target:
    """Starts a target, which the stack stops."""
    match name:
        case "direct":
            return await stack.enter_async_context(run_direct(provider))
        case "proxy":
            return await stack.enter_async_context(run_proxy(directory, provider))
        case "redis":
            return await stack.enter_async_context(run_redis(directory, provider))
    settings = dict(setting.split("=", 1) for setting in options.settings)
    unspool = run_unspool(
        directory,
        provider,
        models(options.size, options.cases),
        apis=options.apis,
        generators=options.generators,
        settings=settings,
    )
    return await stack.enter_async_context(unspool)


def main() -> int:
    options = parse()
    if options.read:
        run, rounds = report.read_json(options.read)
    else:
        run = report.describe_run(sys.argv[1:])
        with contextlib.ExitStack() as stack:
            directory = options.data or stack.enter_context(temporary_data("unspool-bench-"))
            directory.mkdir(parents=True, exist_ok=True)
            try:
                rounds = asyncio.run(measure(options, directory, run))
            except WrongAnswerError as error:
                print(f"unspool bench: {error}", file=sys.stderr)
                return 1
    found = report.medians(rounds)
    if options.plots:
        from tests.bench.plots import draw

        for file in draw(found, options.plots):
            print(f"wrote {file}", file=sys.stderr)
    print("\n\n".join(filter(None, (report.details(found), report.table(found), report.split_table(found)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
