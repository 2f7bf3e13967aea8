"""The account that runs Postgres: Postgres refuses to run as root, so root starts it as another account."""

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
    """An account of the system."""

    name: str
    uid: int
    gid: int


def account_for(cluster: Path) -> Account | None:
    """Returns the account for Postgres, or None for the current user. An existing cluster keeps its owner.

    Raises `ConfigurationError` if the current user cannot run it.
    """
    runner = os.geteuid()
    owner = cluster.stat().st_uid if cluster.exists() else None
    if runner != 0:
        if owner is not None and owner != runner:
            raise ConfigurationError(
                f"{cluster} belongs to {_account_by_uid(owner).name}: run unspool as that user, or as root"
            )
        return None
    if owner == 0:
        raise ConfigurationError(
            f"{cluster} belongs to root, and Postgres does not run as root: chown it to another user"
        )
    return _ordinary_account() if owner is None else _account_by_uid(owner)


def cannot_enter(account: Account, directory: Path) -> Path | None:
    """Returns the topmost directory of the path that the account cannot enter, or None if it can enter all."""
    for step in (*reversed(directory.parents), directory):
        if not _run_as(account, ("/bin/sh", "-c", 'cd -- "$1"', "sh", str(step))):
            return step
    return None


def can_run(account: Account, *command: str) -> bool:
    """Returns True if the command succeeds when the account runs it."""
    return _run_as(account, command)


def _run_as(account: Account, command: tuple[str, ...]) -> bool:
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


def _ordinary_account() -> Account:
    for name in CANDIDATES:
        with contextlib.suppress(KeyError):
            return _account_of(pwd.getpwnam(name))
    names = " or ".join(CANDIDATES)
    raise ConfigurationError(
        f"Postgres does not run as root, and there is no user {names}: run unspool as another user"
    )


def _account_by_uid(uid: int) -> Account:
    with contextlib.suppress(KeyError):
        return _account_of(pwd.getpwuid(uid))
    return Account(f"user {uid}", uid, uid)  # An owner from another machine or container has only a number.


def _account_of(entry: pwd.struct_passwd) -> Account:
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
