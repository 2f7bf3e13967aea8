"""Unspool as containers for tests: a separate compose project on a free port, removed with its volumes at the end."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx
import pytest

from infra.deploy import init
from tests.support.reader import Reader
from tests.support.system import ROOT, free_port

INFRA = ROOT / "infra"
COMMAND_SECONDS = 300.0
END_SECONDS = 90.0
RETRY_SECONDS = 0.2
# What is left of the environment: no variable of the person who runs the tests gets into a container.
KEPT = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "XDG_RUNTIME_DIR")
TOKENS_MAX_BYTES = 256 * 1024**2


def skip_without_engine() -> None:
    if shutil.which("docker") is None:
        pytest.skip("no Docker here")
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode:
            pytest.skip(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")


def environment(directory: Path) -> dict[str, str]:
    """Returns the environment of the compose command. Without BuildKit it uses the classic builder."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT}
    buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False)
    if buildx.returncode:
        kept["DOCKER_BUILDKIT"] = "0"
    (directory / "unspool.toml").write_text('[providers.demo]\nkind = "demo"\n')
    return kept | {
        "UNSPOOL_VERSION": "test",
        "UNSPOOL_TOML": str(directory / "unspool.toml"),
        "UNSPOOL_CERTIFICATES": str(directory / "certificates"),
        "UNSPOOL_TOKENS_MAX_BYTES": str(TOKENS_MAX_BYTES),
    }


class Containers:
    """One compose project. `await containers("ps")` runs `docker compose ps`. It removes the project at its end."""

    def __init__(self, directory: Path, *files: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._cluster = len(files) > 1
        self._directory = directory
        self.prometheus_url, self.grafana_url = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self._environ = environment(directory) | {
            "UNSPOOL_PORT": str(self.port),
            "UNSPOOL_PROMETHEUS_PORT": self.prometheus_url.rpartition(":")[2],
            "UNSPOOL_GRAFANA_PORT": self.grafana_url.rpartition(":")[2],
        }
        named = [part for file in files for part in ("-f", str(INFRA / file))]
        project = f"unspool-test-{uuid4().hex[:8]}"
        self._compose = ["docker", "compose", "-p", project, "--env-file", str(directory / ".env"), *named]

    async def __aenter__(self) -> Self:
        init.main(self._directory, cluster=self._cluster)
        try:
            await self("up", "--build", "--detach", "--wait")
        except BaseException:
            print(await self("logs", "--tail", "50", check=False))
            await self._down()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._down()

    async def _down(self) -> None:
        await self("--profile", "*", "down", "--volumes", "--timeout", "5", check=False)

    def secret(self, name: str) -> str:
        lines = (self._directory / ".env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)[name]

    @property
    def api_key(self) -> str:
        return self.secret("UNSPOOL_API_KEY")

    async def __call__(self, *arguments: str, check: bool = True) -> str:
        """Runs a compose command with low priority and returns its output of both streams."""
        process = await asyncio.create_subprocess_exec(
            *("nice", *self._compose, *arguments),
            env=self._environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(COMMAND_SECONDS):
            printed, _ = await process.communicate()
        said = printed.decode(errors="replace")
        assert not check or process.returncode == 0, f"{arguments}: {said}"
        return said

    async def scale(self, **replicas: int) -> None:
        wanted = [f"--scale={name}={number}" for name, number in replicas.items()]
        await self("up", "--detach", "--wait", "--no-recreate", *wanted)

    async def states(self) -> list[dict[str, Any]]:
        """Returns the states of all containers, stopped ones included."""
        lines = (await self("ps", "--all", "--format", "json")).splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    # --- a client's view ---------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {self.api_key}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=30.0, limits=limits, trust_env=False
        ) as http:
            yield http

    async def ask(self, http: httpx.AsyncClient, model: str, content: str) -> str:
        """Asks a question in a new chat, retries with the same key until it is stored, and returns the answer's id."""
        chat = str(uuid4())
        await _post(http, "/v1/chats", {"id": chat})
        accepted = await _post(http, f"/v1/chats/{chat}/messages", {"content": content, "model": model})
        return str(accepted["answer"])


async def follow(http: httpx.AsyncClient, answer: str, reader: Reader | None = None) -> Reader:
    """Reads an answer to its end like a client: resumes after a break, on the replica that the proxy chooses."""
    reader = reader or Reader()
    async with asyncio.timeout(END_SECONDS):
        while reader.done is None:
            with contextlib.suppress(httpx.TransportError):
                await _connection(http, answer, reader)
            if reader.done is None:
                await asyncio.sleep(RETRY_SECONDS)
    return reader


async def wait_for_index(readers: Iterable[Reader], index: int) -> None:
    async with asyncio.timeout(END_SECONDS):
        while any(reader.last_index < index for reader in readers):
            await asyncio.sleep(0.05)


async def _connection(http: httpx.AsyncClient, answer: str, reader: Reader) -> None:
    headers = {"last-event-id": reader.cursor} if reader.cursor else {}
    reader._fields = {}
    async with http.stream("GET", f"/v1/answers/{answer}/stream", headers=headers) as response:
        if response.status_code in {502, 503, 504}:
            return
        assert response.status_code == 200, response.status_code
        async for line in response.aiter_lines():
            reader.line(line)


async def _post(http: httpx.AsyncClient, path: str, body: dict[str, str]) -> dict[str, Any]:
    headers = {"idempotency-key": str(uuid4())}
    async with asyncio.timeout(END_SECONDS):
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await http.post(path, json=body, headers=headers)
                if response.status_code not in {502, 503, 504}:
                    break
            await asyncio.sleep(RETRY_SECONDS)
    assert response.status_code in {200, 201, 202}, response.text
    answered: dict[str, Any] = response.json()
    return answered
