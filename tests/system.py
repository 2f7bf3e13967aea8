"""Unspool as real processes, for tests: APIs and generators against given servers, each to be killed by its test."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import httpx

ROOT = Path(__file__).parents[1]
START_SECONDS = 30.0
DONE_SECONDS = 60.0
_POLL_SECONDS = 0.05


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


class Process:
    """One service. `kill` is kill -9; `terminate` is SIGTERM; both wait for its end."""

    def __init__(self, module: str, environ: Mapping[str, str], log: Path) -> None:
        self._module = module
        self._environ = dict(environ)
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", self._module, cwd=ROOT, env=self._environ, stdout=log, stderr=log
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """Its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(number)
        async with asyncio.timeout(START_SECONDS):
            return await self._process.wait()


class System:
    """`apis` and `generators` of one log and one database. Use as `async with System(...)`."""

    def __init__(
        self,
        nats_url: str,
        postgres_url: str,
        directory: Path,
        *,
        apis: int = 1,
        generators: int = 1,
        **settings: Any,
    ) -> None:
        self._directory = directory
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("UNSPOOL_", "OPENAI_", "ANTHROPIC_", "OLLAMA_"))
        }
        own = {f"UNSPOOL_{name.upper()}": str(value) for name, value in settings.items()}
        servers = {
            "UNSPOOL_NATS_URL": nats_url,
            "UNSPOOL_POSTGRES_URL": postgres_url,
            "PYTHONUNBUFFERED": "1",
        }
        # Nothing else on this machine is to answer as a provider.
        self._environ = inherited | {"OLLAMA_HOST": "127.0.0.1:9"} | servers | own
        self.urls: list[str] = []
        self.apis = [self._api(number) for number in range(apis)]
        self.generators = [
            self._process("services.generator", f"generator{number}") for number in range(generators)
        ]

    def _api(self, number: int) -> Process:
        port = free_port()
        self.urls.append(f"http://127.0.0.1:{port}")
        return self._process("services.api", f"api{number}", UNSPOOL_PORT=str(port))

    def _process(self, module: str, name: str, **environ: str) -> Process:
        return Process(module, self._environ | environ, self._directory / f"{name}.log")

    def add_generator(self) -> Process:
        process = self._process("services.generator", f"generator{len(self.generators)}")
        self.generators.append(process)
        return process

    async def __aenter__(self) -> Self:
        for process in (*self.generators, *self.apis):
            await process.start()
        for number in range(len(self.apis)):
            await self.ready(number)
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (*self.apis, *self.generators):
            if process.running:
                with contextlib.suppress(ProcessLookupError):
                    process.send(signal.SIGCONT)
                await process.terminate()

    async def ready(self, number: int = 0) -> None:
        """Until this API is ready and knows what models there are."""
        async with httpx.AsyncClient(base_url=self.urls[number]) as client, asyncio.timeout(START_SECONDS):
            while not await _is_ready(client):
                assert self.apis[number].running, self.apis[number].log()
                await asyncio.sleep(_POLL_SECONDS)

    @contextlib.asynccontextmanager
    async def client(self, number: int = 0, **options: Any) -> AsyncIterator["Client"]:
        async with httpx.AsyncClient(base_url=self.urls[number], timeout=DONE_SECONDS, **options) as http:
            yield Client(http)


async def _is_ready(client: httpx.AsyncClient) -> bool:
    try:
        ready = await client.get("/readyz")
        return ready.status_code == 200 and bool((await client.get("/v1/models")).json()["data"])
    except (httpx.TransportError, KeyError):
        return False


class Client:
    """The calls that most tests make, checked for their status."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def chat(self, **body: Any) -> str:
        response = await self.http.post("/v1/chats", json={"id": str(uuid4())} | body)
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    async def ask(self, chat: str, content: str = "Tell me.", **body: Any) -> dict[str, str]:
        response = await self.http.post(f"/v1/chats/{chat}/messages", json={"content": content} | body)
        assert response.status_code == 202, response.text
        accepted: dict[str, str] = response.json()
        return accepted

    async def asked(self, model: str = "demo/20x5ms", **body: Any) -> dict[str, str]:
        """A new chat with one question."""
        return await self.ask(await self.chat(), model=model, **body)

    async def answer(self, answer: str) -> dict[str, Any]:
        response = await self.http.get(f"/v1/answers/{answer}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def history(self, chat: str, after: str) -> dict[str, Any]:
        response = await self.http.get(f"/v1/chats/{chat}", params={"after": after})
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def lines(self, answer: str, cursor: str | None = None) -> AsyncIterator[str]:
        """The stream's lines, as they come. Ends when the server closes; raises `httpx.TransportError` when it breaks off."""
        headers = {"last-event-id": cursor} if cursor else {}
        async with self.http.stream("GET", f"/v1/answers/{answer}/stream", headers=headers) as response:
            assert response.status_code == 200, response.status_code
            assert response.headers["content-type"].startswith("text/event-stream")
            async for line in response.aiter_lines():
                yield line
