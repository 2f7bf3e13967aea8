"""The data directory of `unspool up`: data, logs, secrets and ports of the embedded servers."""

import fcntl
import json
import os
import random
import secrets
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import platformdirs

from shared.domain.errors import ConfigurationError

PORTS = range(20_000, 32_000)
"""Below the range of ephemeral ports. A client that reconnects to an ephemeral port while its server is down may get
that port for its own end, and then connects to itself."""
PORT_ATTEMPTS_MAX = 100
SECRET_BYTES = 24


def default_path() -> Path:
    """Returns the user's data directory; for root /var/lib/unspool, which Postgres' account can enter."""
    return (
        Path("/var/lib/unspool")
        if os.geteuid() == 0
        else platformdirs.user_data_path("unspool", appauthor=False)
    )


def port_is_free(host: str, port: int) -> bool:
    """Returns True if a server can listen on this port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as candidate:
        # Ignore connections of a server that has just stopped, but not a server that still listens.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError:
            return False
    return True


class DataDirectory:
    """The directory of one `unspool up`, which locks it with `hold` and unlocks it with `release`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self._secrets = self.path / "secrets"
        self._ports_file = self.path / "ports.json"
        self._lock: IO[str] | None = None

    def hold(self) -> None:
        """Creates and locks the directory. The kernel releases the lock when the process ends.

        Raises `ConfigurationError` if another process holds it or it is not writable.
        """
        try:
            self.make()
            self._lock = (self.path / "lock").open("a+")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock.truncate(0)
            self._lock.write(f"{os.getpid()}\n")
            self._lock.flush()
        except BlockingIOError as error:
            self.release()
            raise ConfigurationError(self._in_use_message()) from error
        except OSError as error:
            self.release()
            hint = "choose another directory with --data"
            raise ConfigurationError(f"cannot write to {self.path}: {error.strerror}: {hint}") from error

    def release(self) -> None:
        """Releases the lock."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def secret(self, name: str, account_uid: int | None = None) -> str:
        """Returns the secret of this name. The first call creates it, readable by its owner only."""
        path = self._secrets / name
        if not path.exists():
            # Write a new file and rename it, so that a crash leaves no empty password. It begins with a letter,
            # because NATS parses it as a value of its configuration.
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(f"u{secrets.token_hex(SECRET_BYTES)}")
            if account_uid is not None:
                os.chown(new, account_uid, -1)
            new.rename(path)
        return path.read_text().strip()

    def secret_file(self, name: str) -> Path:
        """Returns the path of the file with this secret."""
        return self._secrets / name

    def port(self, name: str) -> int:
        """Returns the port of the last run, or a new one if another program uses it now."""
        known = self._read_ports()
        port = known.get(name)
        if port is None or not port_is_free("127.0.0.1", port):
            port = free_port(taken=known.values())
            self._ports_file.write_text(json.dumps(known | {name: port}))
        return port

    def make(self) -> None:
        """Creates the directory and its subdirectories, if they do not exist."""
        if not self.path.exists():
            self.path.mkdir(parents=True)
            # Override the umask: root's Postgres runs as another user and must enter its own directory.
            self.path.chmod(0o755 if os.geteuid() == 0 else 0o700)
        for directory in (self.logs, self.run, self._secrets):
            directory.mkdir(exist_ok=True)
        self._secrets.chmod(0o711)

    def _in_use_message(self) -> str:
        holder = (self.path / "lock").read_text().strip()
        who = f" (process {holder})" if holder else ""
        return f"another unspool{who} is using {self.path}: stop it first, or choose another directory with --data"

    def _read_ports(self) -> dict[str, int]:
        try:
            return {name: int(port) for name, port in json.loads(self._ports_file.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            return {}


def free_port(taken: Iterable[int]) -> int:
    """Returns a random free port that is not in `taken`. Raises `ConfigurationError` if it finds none."""
    candidates = random.SystemRandom().sample(PORTS, PORT_ATTEMPTS_MAX)
    for port in candidates:
        if port not in taken and port_is_free("127.0.0.1", port):
            return port
    raise ConfigurationError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")
