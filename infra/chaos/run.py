"""`unspool chaos`: starts a stage and clients, inflicts faults, waits for the clients, and checks the result."""

import asyncio
import contextlib
import secrets
from pathlib import Path

from msgspec import Struct, structs

from infra.chaos.checker import Checker
from infra.chaos.evidence import gather
from infra.chaos.faults import Faults
from infra.chaos.fleet import temporary_data
from infra.chaos.people import Person
from infra.chaos.report import Report
from infra.chaos.schedule import schedule
from infra.chaos.stage import Stage, open_stage
from infra.chaos.witness import Witness
from infra.terminal.printable import printable
from shared.log.event_log import EventLog
from shared.logging import configure
from shared.settings import Settings

FAULTS_A_MINUTE_MAX = 60
FINISH_SECONDS = 120.0
"""Time limit for clients to finish after the last fault."""


class Options(Struct, frozen=True, kw_only=True):
    """The parameters of a run."""

    seconds: float
    """Duration of the faults, without the time to start and to check."""
    seed: int
    faults_max: int | None = None
    people: int = 10
    apis: int = 2
    generators: int = 3
    ack_wait_seconds: float = 3.0


def main(minutes: float, seed: int | None, people: int, data: Path | None) -> int:
    """Prints the report and returns the exit status: 1 if there are findings. `data`: a directory to keep, or None."""
    seed = secrets.randbelow(2**32) if seed is None else seed
    options = Options(seconds=minutes * 60, seed=seed, people=people)
    configure(Settings(log_level="error"), "chaos")
    print(f"chaos for {minutes:g} minutes, seed {seed}", flush=True)
    with _directory(data) as directory:
        report = asyncio.run(run(options, directory))
    print(printable(report.text()), flush=True)
    return 1 if report.findings else 0


def _directory(data: Path | None) -> contextlib.AbstractContextManager[Path]:
    if data is None:
        return temporary_data("unspool-chaos-")
    data.mkdir(parents=True, exist_ok=True)
    return contextlib.nullcontext(data.absolute())


async def run(options: Options, directory: Path) -> Report:
    """Runs once and returns the report. `directory`: for all data and logs; other users must be able to enter it."""
    async with open_stage(
        directory,
        apis=options.apis,
        generators=options.generators,
        ack_wait_seconds=options.ack_wait_seconds,
    ) as stage:
        witness = Witness()
        faults = await _play(options, stage, witness)
        checker = await _check(stage, witness)
    return Report(
        seed=options.seed,
        seconds=options.seconds,
        windows=faults.windows,
        unexpected_exits=faults.unexpected_exits,
        witness=witness,
        checker=checker,
    )


async def _play(options: Options, stage: Stage, witness: Witness) -> Faults:
    stop = asyncio.Event()
    people = [
        Person(f"{options.seed}-{number}", stage.fleet.urls, witness, stop)
        for number in range(options.people)
    ]
    faults = Faults(stage, witness, lambda: sum(person.cut() for person in people), options.ack_wait_seconds)
    tasks = [asyncio.create_task(person.run()) for person in people]
    try:
        clock = asyncio.get_running_loop().time
        plan = schedule(
            options.seed,
            count=options.faults_max or int(options.seconds * FAULTS_A_MINUTE_MAX / 60) + 1,
            apis=options.apis,
            generators=options.generators,
            ack_wait_seconds=options.ack_wait_seconds,
        )
        await faults.inflict(plan, until=clock() + options.seconds)
        stop.set()
        await _wait_for_clients(tasks, witness)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    return faults


async def _wait_for_clients(tasks: list[asyncio.Task[None]], witness: Witness) -> None:
    done, late = await asyncio.wait(tasks, timeout=FINISH_SECONDS)
    for task in done:
        task.result()
    if late:
        witness.add_finding(
            "lost", f"{len(late)} clients have not finished {FINISH_SECONDS:.0f} s after the last fault"
        )


async def _check(stage: Stage, witness: Witness) -> Checker:
    settings = structs.replace(Settings(), nats_url=stage.nats.url)
    async with EventLog.open(settings, "unspool-chaos") as log:
        checker = Checker(await gather(log, stage.postgres.url), witness)
    checker.check()
    return checker
