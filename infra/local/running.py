"""Finds the processes of a running `unspool up` in its data directory, without changing it."""

import socket
import time
from pathlib import Path

from msgspec import Struct

from infra.local.data_directory import DataDirectory
from infra.local.processes import find_process, pid_files
from shared.domain.errors import UnspoolError

API_PREFIX = "api-"
CONNECT_SECONDS = 0.5


class NothingRuns(UnspoolError):
    """There is no API process to ask. The message says how to start one."""


class RunningProcess(Struct, frozen=True):
    """A process of `unspool up`. `pid` is None while it does not run: it died, and is started again soon."""

    name: str
    pid: int | None
    address: str = ""
    uptime_seconds: float = 0.0


def find_running(directory: DataDirectory) -> list[RunningProcess]:
    """Returns the processes of the `unspool up` on this directory, or an empty list if none of them runs."""
    found = [_describe(pid_file) for pid_file in pid_files(directory.run)]
    return found if any(process.pid for process in found) else []


def find_api_urls(directory: DataDirectory, *, default_port: int | None) -> tuple[str, ...]:
    """Returns the URLs of the API processes of the `unspool up` on this directory.

    If none runs and something listens on `default_port` of this machine, such as a container, returns its URL. Raises
    `NothingRuns`.
    """
    running = [find_process(pid_file) for pid_file in pid_files(directory.run) if _is_api(pid_file)]
    if urls := tuple(f"http://{found[1].address}" for found in running if found and found[1].address):
        return urls
    if default_port is not None and _listens(default_port):
        return (f"http://127.0.0.1:{default_port}",)
    raise NothingRuns(
        f"no `unspool up` runs on {directory.path}: start one, or name an API process with --url"
    )


def _is_api(pid_file: Path) -> bool:
    return pid_file.name.startswith(API_PREFIX)


def _describe(pid_file: Path) -> RunningProcess:
    found = find_process(pid_file)
    if found is None:
        return RunningProcess(pid_file.stem, None)
    process, saved = found
    uptime = max(0.0, time.time() - process.create_time())
    return RunningProcess(saved.name or pid_file.stem, saved.pid, saved.address, round(uptime, 1))


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=CONNECT_SECONDS):
            return True
    except OSError:
        return False
