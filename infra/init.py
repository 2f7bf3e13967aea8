"""`unspool init`: the secrets that the compose files ask for, random, in a file that only its owner reads.

A file that is there is never touched: its passwords are those of the volumes that were made with them.
"""

import os
import secrets
from pathlib import Path

from infra import certificates
from shared.errors import ConfigurationError

DEFAULT_PATH = Path(__file__).parent / ".env"
SECRET_BYTES = 24
NAMES = {
    "UNSPOOL_API_KEY": "What callers of the API present: `Authorization: Bearer ...`",
    "UNSPOOL_METRICS_KEY": "What Prometheus presents to /metrics, likewise; it opens nothing else",
    "POSTGRES_PASSWORD": "Of the read models",
    "NATS_PASSWORD": "Of the one NATS of compose.yaml",
    "NATS_API_PASSWORD": "Of the users of compose.cluster.yaml's three: the API, ...",
    "NATS_GENERATOR_PASSWORD": "... the generators, ...",
    "NATS_OPERATOR_PASSWORD": "... and you, with the `nats` command line",
}
_HEAD = """\
# Written by `unspool init`, and read by compose. Not for version control.
# Keys of providers go into providers.env beside it, which only the generators get to see.
"""


def main(directory: Path, *, cluster: bool) -> int:
    """With `cluster`, what is there is left as it is, and what is missing is added. Raises `ConfigurationError`."""
    path, authority = directory / ".env", directory / certificates.DEFAULT_PATH.name
    if not (cluster and path.exists()):
        _write(path)
        print(f"{path} is written: an API key, another for metrics, and passwords for Postgres and NATS.")
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
    except FileExistsError as error:
        raise ConfigurationError(
            f"{path} is there already, and its passwords may be in use: it stays as it is"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(_HEAD)
        file.writelines(f"\n# {told}\n{name}={secret()}\n" for name, told in NAMES.items())


def secret() -> str:
    """Letters, digits, - and _: safe in a URL. It begins with a letter, since nats.conf reads it as if it stood there."""
    return "s" + secrets.token_urlsafe(SECRET_BYTES)
