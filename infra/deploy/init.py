"""`unspool init`: the secrets that the compose files ask for, random, in a file that only its owner reads.

What is there is never changed: its passwords are those of the volumes that were made with them. What an earlier
version did not know is added.
"""

import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from infra.deploy import certificates
from shared.domain.errors import ConfigurationError

DEFAULT_PATH = Path(__file__).parents[1] / ".env"
SECRET_BYTES = 24
NAMES = {
    "UNSPOOL_API_KEY": "What callers of the API present: `Authorization: Bearer ...`",
    "UNSPOOL_METRICS_KEY": "What Prometheus presents to /metrics, likewise; it opens nothing else",
    "POSTGRES_PASSWORD": "Of the read models",
    "NATS_PASSWORD": "Of the one NATS of compose.yaml",
    "GRAFANA_PASSWORD": "Of Grafana's `admin`, from its first start on (--profile observe)",
    "NATS_API_PASSWORD": "Of the users of compose.cluster.yaml's three: the API, ...",
    "NATS_GENERATOR_PASSWORD": "... the generators, ...",
    "NATS_OPERATOR_PASSWORD": "... and you, with the `nats` command line",
}
_HEAD = """\
# Written by `unspool init`, and read by compose. Not for version control.
# Keys of providers go into providers.env beside it, which only the generators get to see.
"""


def main(directory: Path, *, cluster: bool) -> int:
    """Raises `ConfigurationError` where nothing is left to do."""
    path, authority = directory / ".env", directory / certificates.DEFAULT_PATH.name
    if path.exists():
        _complete(path, nothing_is_fine=cluster)
    else:
        _write(path)
        print(
            f"{path} is written: an API key, another for metrics, and passwords for Postgres, NATS and Grafana."
        )
    if cluster:
        certificates.write(authority)
        print(f"{authority} is written: certificates for three NATS nodes.")
    print(
        "Next: docker compose -f infra/compose.yaml"
        + cluster * " -f infra/compose.cluster.yaml"
        + " up --build"
    )
    return 0


def _write(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_HEAD + _entries(NAMES))
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def _complete(path: Path, *, nothing_is_fine: bool) -> None:
    try:
        there = path.read_text(encoding="utf-8")
        missing = [
            name for name in NAMES if not re.search(rf"^\s*(export\s+)?{name}\s*=", there, re.MULTILINE)
        ]
        if missing:
            with path.open("a", encoding="utf-8") as file:
                file.write("\n" * (not there.endswith("\n")) + _entries(missing))
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    if missing:
        print(f"{path} had no {', '.join(missing)}: added; the rest stays as it is.")
    elif not nothing_is_fine:
        raise ConfigurationError(
            f"{path} is there already, and its passwords may be in use: it stays as it is"
        )


def _entries(names: Iterable[str]) -> str:
    return "".join(f"\n# {NAMES[name]}\n{name}={secret()}\n" for name in names)


def secret() -> str:
    """Letters, digits, - and _: safe in a URL. It begins with a letter, since nats.conf reads it as if it stood there."""
    return "s" + secrets.token_urlsafe(SECRET_BYTES)
