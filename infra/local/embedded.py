"""Finds the servers of a running `unspool up` and their secrets in its data directory, without changing it."""

import json
from pathlib import Path

from msgspec import structs

from infra.local import nats_server, postgres_server
from infra.local.data_directory import DataDirectory, default_path
from shared.domain.errors import ConfigurationError
from shared.settings import Settings, is_set


def with_embedded(settings: Settings, data: Path | None, config: Path | None = None) -> Settings:
    """Settings under which a command finds the servers that an `unspool up` on `data` runs.

    A server that was given, in the environment or the settings file, is used in any case, as `up` does. Raises
    `ConfigurationError` where a directory that was named has none of those that are not given.
    """
    wanted = [name for name in ("nats", "postgres") if not is_set(f"{name}_url", config)]
    directory = DataDirectory(data or default_path())
    found = {f"{name}_url": url for name in wanted if (url := _url_in(directory, name))}
    if data is not None and wanted and not found:
        raise ConfigurationError(f"{data} is not a data directory of unspool up")
    return structs.replace(settings, **found)


def _url_in(directory: DataDirectory, name: str) -> str | None:
    """Returns the server's URL, or None if no `unspool up` has run this server there."""
    try:
        port = int(json.loads((directory.path / "ports.json").read_text())[name])
        secret = directory.secret_file(name).read_text().strip()
    except PermissionError as error:
        raise ConfigurationError(f"cannot read {error.filename}: {error.strerror}") from error
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if name == "nats":
        return nats_server.url_at(port, secret)
    return postgres_server.url_at(port, secret)
