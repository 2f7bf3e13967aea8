"""Limits the size of the child processes' logs."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

CHECK_SECONDS = 10.0
LOG_BYTES_MAX = 16 * 1024 * 1024


async def limit_logs(directory: Path) -> None:
    """Truncates large logs until it is cancelled. Each log and `NAME.log.1` hold about `LOG_BYTES_MAX` at most."""
    while True:
        # An error such as a full disk may have passed at the next check.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(truncate_logs, directory, LOG_BYTES_MAX)
        await asyncio.sleep(CHECK_SECONDS)


def truncate_logs(directory: Path, bytes_max: int) -> None:
    """Copies each log of more than `bytes_max` to `NAME.log.1` and truncates it. It does not rename, because processes
    keep their logs open for appending. Lines written between copy and truncation are lost.
    """
    for log in directory.glob("*.log"):
        if log.stat().st_size > bytes_max:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
