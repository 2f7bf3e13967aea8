"""The one directory in which all embedded servers keep their data, and what is remembered from run to run."""

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
"""Below what systems give to outgoing connections. A client that calls again and again at a port of that range
while its server is away can be given that very port for its own end, and is then connected to itself."""
PORT_ATTEMPTS_MAX = 100
SECRET_BYTES = 24


def default_path() -> Path:
    """Root's home is closed to the user that Postgres then runs as; /var/lib is not."""
    return (
        Path("/var/lib/unspool")
        if os.geteuid() == 0
        else platformdirs.user_data_path("unspool", appauthor=False)
    )


def port_is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as candidate:
        # Connections of a server that has just stopped do not count; a server that still listens does.
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError:
            return False
    return True


class DataDirectory:
    """Held by one supervisor at a time. Every `ConfigurationError` is one line for the person who named it."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.logs = self.path / "logs"
        self.run = self.path / "run"
        self._secrets = self.path / "secrets"
        self._ports_file = self.path / "ports.json"
        self._lock: IO[str] | None = None

    def hold(self) -> None:
        """Makes it, if need be. The kernel gives up the lock with the process, however that ends."""
        try:
            self.make()
            self._lock = (self.path / "lock").open("a+")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._lock.truncate(0)
            self._lock.write(f"{os.getpid()}\n")
            self._lock.flush()
        except BlockingIOError as error:
            self.release()
            raise ConfigurationError(self._in_use()) from error
        except OSError as error:
            self.release()
            hint = "give another directory with --data"
            raise ConfigurationError(f"cannot write to {self.path}: {error.strerror}: {hint}") from error

    def release(self) -> None:
        if self._lock:
            self._lock.close()
            self._lock = None

    def secret(self, name: str, account_uid: int | None = None) -> str:
        """The same at every call; made at the first, and readable for its owner alone."""
        path = self._secrets / name
        if not path.exists():
            # Written aside, so that a crash cannot leave an empty password. A letter first: NATS reads it as a value
            # of its configuration.
            new = path.with_suffix(".new")
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
                file.write(f"u{secrets.token_hex(SECRET_BYTES)}")
            if account_uid is not None:
                os.chown(new, account_uid, -1)
            new.rename(path)
        return path.read_text().strip()

    def secret_file(self, name: str) -> Path:
        return self._secrets / name

    def port(self, name: str) -> int:
        """The port of last time, unless somebody else has it now."""
        remembered = self._remembered_ports()
        port = remembered.get(name)
        if port is None or not port_is_free("127.0.0.1", port):
            port = free_port(taken=remembered.values())
            self._ports_file.write_text(json.dumps(remembered | {name: port}))
        return port

    def make(self) -> None:
        if not self.path.exists():
            self.path.mkdir(parents=True)
            # Whatever the umask: root's Postgres runs as another user, who must get through to its own directory.
            self.path.chmod(0o755 if os.geteuid() == 0 else 0o700)
        for directory in (self.logs, self.run, self._secrets):
            directory.mkdir(exist_ok=True)
        self._secrets.chmod(0o711)

    def _in_use(self) -> str:
        holder = (self.path / "lock").read_text().strip()
        who = f" (process {holder})" if holder else ""
        return (
            f"another unspool{who} is using {self.path}: stop it first, or give another directory with --data"
        )

    def _remembered_ports(self) -> dict[str, int]:
        try:
            return {name: int(port) for name, port in json.loads(self._ports_file.read_text()).items()}
        except (OSError, ValueError, AttributeError):
            return {}


def free_port(taken: Iterable[int]) -> int:
    candidates = random.SystemRandom().sample(PORTS, PORT_ATTEMPTS_MAX)
    for port in candidates:
        if port not in taken and port_is_free("127.0.0.1", port):
            return port
    raise ConfigurationError(f"no free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")
