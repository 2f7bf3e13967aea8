"""The API and generator processes of `unspool up`: how they are started, and what shows that they are there."""

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
from shared.settings import Settings

CHECKOUT = Path(__file__).parents[2]
REQUEST_SECONDS = 2.0


class OwnProcesses:
    """All with the same settings; each with its own port and log."""

    def __init__(
        self, settings: Settings, config: Path | None, data: DataDirectory, urls: Mapping[str, str]
    ) -> None:
        """`urls`: environment variables that say where the embedded servers are."""
        self._settings = settings
        self._config = config
        self._data = data
        self._urls = urls

    def api(self, number: int) -> Program:
        port = str(self._settings.port + number - 1)
        return self._program("API", number, {}, "api", "--host", self._settings.host, "--port", port)

    def generator(self, number: int) -> Program:
        port = self._settings.generator_port and self._settings.generator_port + number - 1
        return self._program("generator", number, {"UNSPOOL_GENERATOR_PORT": str(port)}, "generator")

    def _program(self, kind: str, number: int, variables: Mapping[str, str], *command: str) -> Program:
        # -P: nothing is imported from where the user stands. -X: means nothing to Python, and tells the processes
        # of this data directory from those of another, to a person who reads `ps` and to us after a crash.
        python = (sys.executable, "-P", "-X", f"unspool={self._data.path}", "-m", "infra.cli")
        config = ("--config", str(self._config.absolute())) if self._config else ()
        file_name = f"{kind.lower()}-{number}"
        own = {"PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
        return Program(
            name=f"{kind} {number}",
            argv=(*python, *config, *command),
            log=self._data.logs / f"{file_name}.log",
            pid_file=self._data.run / f"{file_name}.pid",
            environ={**os.environ, **self._urls, **own, **variables},
        )


class ApiClient:
    """Asks an API process how it is, as any client would."""

    def __init__(self, settings: Settings, port: int) -> None:
        self.url = f"http://{_host_to_call(settings.host)}:{port}"
        headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        # A proxy of the environment is for the world outside, not for this machine.
        self._client = httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=REQUEST_SECONDS, trust_env=False
        )

    async def is_ready(self) -> bool:
        return await self._get("/readyz") is not None

    async def models(self) -> list[dict[str, Any]]:
        """The default one first. None of them: no generator has said yet what there is."""
        found = await self._get("/v1/models")
        return found["data"] if found else []

    async def close(self) -> None:
        await self._client.aclose()

    async def _get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        try:
            response = await self._client.get(path)
        except httpx.HTTPError:
            return None
        return response.json() if response.is_success else None


def check_port(host: str, port: int) -> None:
    """Before anything is started: what keeps an API process from listening there is one clear line."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as candidate:
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind(address)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        why = "another program listens there" if in_use else error.strerror
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {why}; choose another with --port"
        ) from error


def _host_to_call(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
