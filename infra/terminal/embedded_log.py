"""Where the NATS of `unspool up` is, and its secret: found in the data directory, without changing a thing there."""

import json
import os
from pathlib import Path

from msgspec import structs

from infra.data_directory import DataDirectory, default_path
from infra.nats_server import USER
from shared.errors import ConfigurationError
from shared.settings import Settings


def with_nats_url(settings: Settings, data: Path | None) -> Settings:
    """The NATS that was configured; else that of the data directory. One that was named wins over both.

    Raises `ConfigurationError` where a directory that was named has none.
    """
    configured = os.environ.get("UNSPOOL_NATS_URL") or settings.nats_url != Settings().nats_url
    if data is None and configured:
        return settings
    url = _url_in(DataDirectory(data or default_path()))
    if url is not None:
        return structs.replace(settings, nats_url=url)
    if data is not None:
        raise ConfigurationError(f"{data} is not a data directory of unspool up")
    return settings


def _url_in(directory: DataDirectory) -> str | None:
    """None if no `unspool up` has ever run there."""
    secret = directory.secret_file("nats")
    try:
        port = int(json.loads((directory.path / "ports.json").read_text())["nats"])
        return f"nats://{USER}:{secret.read_text().strip()}@127.0.0.1:{port}"
    except PermissionError as error:
        raise ConfigurationError(f"cannot read {error.filename}: {error.strerror}") from error
    except (OSError, ValueError, KeyError, TypeError):
        return None
