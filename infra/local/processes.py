"""Starts and stops child processes, and finds them again after a crash of their supervisor."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
from msgspec import Struct

from infra.local.accounts import Account
from shared.domain.errors import UnspoolError

TETHER = Path(__file__).with_name("tether.py")
ORPHAN_STOP_SECONDS = 5.0
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 8 * 1024


class StartError(UnspoolError):
    """A process did not start. The message is for the person at the terminal and may contain the end of its log."""


@dataclass(frozen=True)
class Program:
    """Everything needed to start one process, any number of times."""

    name: str
    argv: tuple[str, ...]
    """The first is an absolute path."""
    log: Path
    pid_file: Path
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    stop_signal: signal.Signals = signal.SIGTERM
    kill_signal: signal.Signals = signal.SIGKILL
    """Sent if the process has not ended in time after the stop signal."""
    account: Account | None = None
    """The account that runs it; None for the current user."""
    directory: Path | None = None
    address: str = ""
    """The host and port where it listens, for people and for `infra/local/running.py`; empty if nowhere."""


class SavedProcess(Struct, frozen=True, kw_only=True):
    """The content of a pid file: what a process is, for those who did not start it."""

    pid: int
    argv: tuple[str, ...]
    stop_signal: int
    name: str = ""
    address: str = ""


async def spawn(program: Program) -> asyncio.subprocess.Process:
    """Starts a process in a new session, so that Ctrl-C reaches only the supervisor, which stops its processes in
    order.
    """
    who = program.account
    tether = [str(os.getpid()), str(int(program.stop_signal))]
    tether += [str(who.uid), str(who.gid)] if who else ["-1", "-1"]
    # Append mode: the log can be truncated while the process holds it open.
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
    _write_pid_file(program, process.pid)
    return process


async def stop(process: asyncio.subprocess.Process, program: Program, grace_seconds: float) -> bool:
    """Stops a process. Returns False if it did not end in time and was killed."""
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
    """Returns an exit status or signal as text."""
    return f"signal {-status}" if status < 0 else f"exit status {status}"


def log_tail(log: Path, lines: int) -> str:
    """Returns the last lines of a log, or '' if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.strip().splitlines()[-lines:])


async def stop_orphans(run_directory: Path) -> list[str]:
    """Stops processes that a killed supervisor left running, and returns their names.

    The system reuses pids. So a process is ours only if its arguments, which name the data directory, also equal
    those in the pid file.
    """
    orphans = {
        pid_file.stem: found for pid_file in pid_files(run_directory) if (found := find_process(pid_file))
    }
    for process, saved in orphans.values():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(saved.stop_signal)
    alive = await wait_for_exit([process for process, _ in orphans.values()], ORPHAN_STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await wait_for_exit(alive, ORPHAN_STOP_SECONDS)
    for pid_file in pid_files(run_directory):
        pid_file.unlink(missing_ok=True)
    return list(orphans)


async def wait_for_exit(
    processes: Sequence[psutil.Process], patience_seconds: float
) -> Sequence[psutil.Process]:
    """Returns the processes that have not ended after this time. A zombie counts as ended: in some containers no
    parent ever reaps it.
    """
    alive = processes
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(patience_seconds):
            while alive := [process for process in alive if is_alive(process)]:  # noqa: ASYNC110 - processes of others give no signal
                await asyncio.sleep(POLL_SECONDS)
    return alive


def is_alive(process: psutil.Process) -> bool:
    """Returns True if the process runs and is not a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pid_files(run_directory: Path) -> list[Path]:
    """Returns the pid files of a data directory; each belongs to a process that was started and not stopped."""
    return sorted(run_directory.glob("*.pid"))


def find_process(pid_file: Path) -> tuple[psutil.Process, SavedProcess] | None:
    """Returns the process that a pid file describes, or None if it does not run; another may have its pid."""
    try:
        saved = msgspec.json.decode(pid_file.read_bytes(), type=SavedProcess)
        process = psutil.Process(saved.pid)
        # Ignore the first argument: some systems report the interpreter's real path there.
        same = process.cmdline()[1:] == list(saved.argv[1:])
    except (OSError, msgspec.MsgspecError, psutil.Error):
        return None
    return (process, saved) if same else None


def _write_pid_file(program: Program, pid: int) -> None:
    saved = SavedProcess(
        pid=pid,
        argv=program.argv,
        stop_signal=int(program.stop_signal),
        name=program.name,
        address=program.address,
    )
    program.pid_file.write_bytes(msgspec.json.encode(saved))


def _send(process: asyncio.subprocess.Process, signal_: signal.Signals) -> None:
    # Do not use `process.send_signal`: it polls the process first, and so may consume the exit status that a
    # thread is waiting for.
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal_)
