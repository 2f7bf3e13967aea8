"""`unspool init`: writes random secrets for the compose files to a file that only its owner can read.

It never changes an existing entry, because existing volumes were created with that password. It adds entries that
an earlier version did not write.
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
    "UNSPOOL_API_KEY": "Key for clients of the API: `Authorization: Bearer ...`",
    "UNSPOOL_METRICS_KEY": "Key for Prometheus, sent to /metrics as a bearer token; valid for /metrics only",
    "POSTGRES_PASSWORD": "Password of Postgres, which stores the read models",
    "NATS_PASSWORD": "Password of the single NATS server in compose.yaml",
    "GRAFANA_PASSWORD": "Password of Grafana's `admin`, applied at its first start (--profile observe)",
    "NATS_API_PASSWORD": "Password of the API in the NATS cluster of compose.cluster.yaml",
    "NATS_GENERATOR_PASSWORD": "Password of the generators in the NATS cluster",
    "NATS_OPERATOR_PASSWORD": "Password of the operator in the NATS cluster, for the `nats` command line",
}
_HEAD = """\
# Written by `unspool init`, read by compose. Do not commit it to version control.
# Put keys of providers into providers.env beside this file: only the generators read that file.
"""


def main(directory: Path, *, cluster: bool) -> int:
    """Writes or completes the file and returns the exit status. Raises `ConfigurationError` if nothing is missing."""
    path, authority = directory / ".env", directory / certificates.DEFAULT_PATH.name
    if path.exists():
        _complete(path, nothing_is_fine=cluster)
    else:
        _write(path)
        print(f"Wrote {path}: an API key, a key for metrics, and passwords for Postgres, NATS and Grafana.")
    if cluster:
        certificates.write(authority)
        print(f"Wrote {authority}: certificates for three NATS nodes.")
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
        print(f"Added {', '.join(missing)} to {path}. Its other entries did not change.")
    elif not nothing_is_fine:
        raise ConfigurationError(f"{path} already exists and was not changed: its passwords may be in use")


def _entries(names: Iterable[str]) -> str:
    return "".join(f"\n# {NAMES[name]}\n{name}={make_secret()}\n" for name in names)


def make_secret() -> str:
    """Returns random letters, digits, - and _, which are safe in a URL. It begins with a letter, because nats.conf
    includes the value literally.
    """
    return "s" + secrets.token_urlsafe(SECRET_BYTES)
