"""The API and generator processes of `unspool up`: how to start them and how to check them."""

import errno
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from infra.local.data_directory import DataDirectory
from infra.local.processes import Program
from shared.domain.errors import ConfigurationError
from shared.hosts import host_to_call
from shared.settings import Settings

CHECKOUT = Path(__file__).parents[2]
REQUEST_SECONDS = 2.0


class OwnProcesses:
    """Creates the programs of API and generator processes: with the same settings, each with its own port and log."""

    def __init__(
        self, settings: Settings, config: Path | None, data: DataDirectory, urls: Mapping[str, str]
    ) -> None:
        """Takes `urls`: environment variables with the URLs of the embedded servers."""
        self._settings = settings
        self._config = config
        self._data = data
        self._urls = urls

    def api(self, number: int) -> Program:
        """Returns the program of an API process; numbers begin at 1."""
        port = self._settings.port + number - 1
        command = ("api", "--host", self._settings.host, "--port", str(port))
        return self._program("API", number, {}, self._address(port), *command)

    def generator(self, number: int) -> Program:
        """Returns the program of a generator process; numbers begin at 1."""
        port = self._settings.generator_port and self._settings.generator_port + number - 1
        variables = {"UNSPOOL_GENERATOR_PORT": str(port)}
        return self._program("generator", number, variables, self._address(port) if port else "", "generator")

    def _address(self, port: int) -> str:
        return f"{host_to_call(self._settings.host)}:{port}"

    def _program(
        self, kind: str, number: int, variables: Mapping[str, str], address: str, *command: str
    ) -> Program:
        # -P: do not import from the current directory. -X: Python ignores this option; it marks the processes of
        # this data directory, for `ps` and for the search for orphans after a crash.
        python = (sys.executable, "-P", "-X", f"unspool={self._data.path}", "-m", "infra.cli")
        config = ("--config", str(self._config.absolute())) if self._config else ()
        file_name = f"{kind.lower()}-{number}"
        own = {"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'shared/client'}", "PYTHONUNBUFFERED": "1"}
        return Program(
            name=f"{kind} {number}",
            argv=(*python, *config, *command),
            log=self._data.logs / f"{file_name}.log",
            pid_file=self._data.run / f"{file_name}.pid",
            environ={**os.environ, **self._urls, **own, **variables},
            address=address,
        )


class ApiClient:
    """Checks one API process over HTTP. The caller closes it."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.url = f"http://{host_to_call(settings.host)}:{port}"
        headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        # Do not use a proxy of the environment for this machine.
        self._client = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False
        )

    async def is_ready(self) -> bool:
        """Returns True if `/readyz` responds 200."""
        return await self._get("/readyz") is not None

    async def list_models(self) -> list[dict[str, Any]]:
        """Returns the models, the default first. The list is empty until a generator announces its models."""
        found = await self._get("/v1/models")
        return found["data"] if found else []

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.aclose()

    async def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        try:
            response = await self._client.get(path)
        except httpx.HTTPError:
            return None
        return response.json() if response.is_success else None


def check_port(host: str, port: int) -> None:
    """Raises `ConfigurationError` if an API process cannot listen on this port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind(address)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = "another program is using this port" if in_use else error.strerror
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {why}; choose another port with --port"
        ) from error
