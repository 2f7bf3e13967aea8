"""Keeps the logs of child processes from growing without bound."""

import asyncio
import contextlib
import os
import shutil
from pathlib import Path

CHECK_SECONDS = 10.0
LOG_BYTES_MAX = 16 * 1024 * 1024


async def keep_short(directory: Path) -> None:
    """Until it is cancelled. Each log and its predecessor, `NAME.log.1`, hold up to about `LOG_BYTES_MAX`."""
    while True:
        # A full disk, say: that is no reason to stop, and may be over at the next time.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(cut, directory, LOG_BYTES_MAX)
        await asyncio.sleep(CHECK_SECONDS)


def cut(directory: Path, bytes_max: int) -> None:
    """The processes keep their logs open, so a log is copied and emptied, not renamed. They append: what they write
    next stands at the new beginning; what they write between the two steps is lost.
    """
    for log in directory.glob("*.log"):
        if log.stat().st_size > bytes_max:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)
