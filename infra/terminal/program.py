"""The name under which a person called the command line, for the commands that it suggests."""

import os
import shlex
from pathlib import Path

VARIABLE = "UNSPOOL_PROGRAM"
"""Set by the script `unspool` to the path by which it was called, such as `./unspool`."""


def suggest(command: str, data: Path | None = None) -> str:
    """Returns a command line that can be pasted; `data` is the directory that a person gave with --data."""
    where = f" --data {shlex.quote(str(data.absolute()))}" if data else ""
    return f"{shlex.quote(os.environ.get(VARIABLE) or 'unspool')} {command}{where}"
