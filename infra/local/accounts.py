"""Who Postgres runs as: it refuses to be root, so root's is given to an ordinary account of the system."""

import contextlib
import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from shared.domain.errors import ConfigurationError

CANDIDATES = ("postgres", "nobody")
CHECK_SECONDS = 10.0


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int


def account_for(cluster: Path) -> Account | None:
    """None: whoever runs this. The owner of a cluster that is there stays the one who runs it."""
    runner = os.geteuid()
    owner = cluster.stat().st_uid if cluster.exists() else None
    if runner != 0:
        if owner is not None and owner != runner:
            raise ConfigurationError(
                f"{cluster} belongs to {_by_uid(owner).name}: run unspool as that user, or as root"
            )
        return None
    if owner == 0:
        raise ConfigurationError(
            f"{cluster} belongs to root, and Postgres does not run as root: chown it to another user"
        )
    return _ordinary() if owner is None else _by_uid(owner)


def cannot_enter(account: Account, directory: Path) -> Path | None:
    """The topmost directory on the way to this one that is closed to the account; None: it gets there."""
    for step in (*reversed(directory.parents), directory):
        if not _succeeds(account, ("/bin/sh", "-c", 'cd -- "$1"', "sh", str(step))):
            return step
    return None


def can_run(account: Account, *command: str) -> bool:
    return _succeeds(account, command)


def _succeeds(account: Account, command: tuple[str, ...]) -> bool:
    try:
        done = subprocess.run(
            command,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _ordinary() -> Account:
    for name in CANDIDATES:
        with contextlib.suppress(KeyError):
            return _of(pwd.getpwnam(name))
    names = " or ".join(CANDIDATES)
    raise ConfigurationError(
        f"Postgres does not run as root, and there is no user {names}: run unspool as another user"
    )


def _by_uid(uid: int) -> Account:
    with contextlib.suppress(KeyError):
        return _of(pwd.getpwuid(uid))
    return Account(f"user {uid}", uid, uid)  # of another machine or container: the number is all there is


def _of(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
