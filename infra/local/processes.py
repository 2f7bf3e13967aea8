"""Child processes: how they are started, stopped, and found again after a crash of the one who started them."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from infra.local.accounts import Account
from shared.domain.errors import UnspoolError

TETHER = Path(__file__).with_name("tether.py")
ORPHAN_STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 8 * 1024


class StartError(UnspoolError):
    """A process did not come up. The message is for the person at the terminal, and may hold the end of its log."""


@dataclass(frozen=True)
class Program:
    """All that is needed to start one process, once or again."""

    name: str
    argv: tuple[str, ...]
    """The first is an absolute path."""
    log: Path
    pid_file: Path
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    """What follows if the stop signal has not helped in time."""
    account: Account | None = None
    """None: the user who runs this."""
    directory: Path | None = None


async def spawn(program: Program) -> asyncio.subprocess.Process:
    """Starts it in a session of its own, so that a Ctrl-C at the terminal reaches the supervisor alone, which
    then stops the others in their order.
    """
    who = program.account
    tether = [str(os.getpid()), str(int(program.stop_signal))]
    tether += [str(who.uid), str(who.gid)] if who else ["-1", "-1"]
    # Appending, so that the log can be cut while the process holds it open: the next line goes to the new end.
    with program.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(TETHER), *tether, *program.argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(program.environ),
            cwd=program.directory,
            start_new_session=True,
        )
    _remember(program, process.pid)
    return process


async def stop(process: asyncio.subprocess.Process, program: Program, grace_seconds: float) -> bool:
    """False: it had to be killed."""
    _send(process, program.stop_signal)
    try:
        await asyncio.wait_for(process.wait(), grace_seconds)
    except TimeoutError:
        _send(process, program.kill_signal)
        try:
            await asyncio.wait_for(process.wait(), grace_seconds)
        except TimeoutError:
            _send(process, signal.SIGKILL)
            await process.wait()
        return False
    finally:
        if process.returncode is not None:
            program.pid_file.unlink(missing_ok=True)
    return True


def how_it_ended(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def log_tail(log: Path, lines: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


async def stop_orphans(run_directory: Path) -> list[str]:
    """Stops what an earlier supervisor, killed by force, left running, and gives their names.

    A pid alone proves nothing, as the system uses it again: a process is ours if it also runs with the very
    arguments that were noted at its start, which name the data directory.
    """
    orphans = {pid_file.stem: found for pid_file in _pid_files(run_directory) if (found := _orphan(pid_file))}
    for process, stop_signal in orphans.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(stop_signal)
    alive = await still_alive([process for process, _ in orphans.values()], ORPHAN_STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await still_alive(alive, ORPHAN_STOP_SECONDS)
    for pid_file in _pid_files(run_directory):
        pid_file.unlink(missing_ok=True)
    return list(orphans)


async def still_alive(
    processes: Sequence[psutil.Process], patience_seconds: float
) -> Sequence[psutil.Process]:
    """Those that have not ended after this time. For processes of others: a dead one whose parent does not look
    after it stays in the table as a zombie, in some containers for ever, and counts as ended.
    """
    alive = processes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_seconds):
            while alive := [process for process in alive if is_alive(process)]:  # noqa: ASYNC110 - they send no signal
                await asyncio.sleep(POLL_SECONDS)
    return alive


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _pid_files(run_directory: Path) -> list[Path]:
    return sorted(run_directory.glob("*.pid"))


def _orphan(pid_file: Path) -> tuple[psutil.Process, int] | None:
    try:
        noted = json.loads(pid_file.read_text())
        process = psutil.Process(noted["pid"])
        # Without the first: a system may show the interpreter's real path there, and not the one it was called by.
        same = process.cmdline()[1:] == noted["argv"][1:]
        return (process, noted["stop_signal"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def _remember(program: Program, pid: int) -> None:
    noted = {"pid": pid, "argv": program.argv, "stop_signal": int(program.stop_signal)}
    program.pid_file.write_text(json.dumps(noted))


def _send(process: asyncio.subprocess.Process, signal_: signal.Signals) -> None:
    # Not `process.send_signal`: it looks first whether the process has ended, and so can take the exit status
    # from the thread that waits for it.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal_)
