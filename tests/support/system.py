"""Unspool as real processes for tests: APIs and generators on given servers, which tests can kill."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx

from infra.chaos.fleet import ROOT, Fleet, Process, free_port

__all__ = ["ROOT", "Client", "Process", "System", "free_port"]

DONE_SECONDS = 60.0


class System(Fleet):
    """A fleet with clients."""

    @contextlib.asynccontextmanager
    async def client(self, number: int = 0, **options: Any) -> AsyncIterator["Client"]:
        async with httpx.AsyncClient(base_url=self.urls[number], timeout=DONE_SECONDS, **options) as http:
            yield Client(http)


class Client:
    """The calls that most tests make. Each asserts the status of its response."""

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

    async def ask_new_chat(self, model: str = "demo/20x5ms", **body: Any) -> dict[str, str]:
        """Asks a question in a new chat and returns the body of the 202."""
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
        """Yields the stream's lines. Ends when the server closes; raises `httpx.TransportError` if it breaks off."""
        headers = {"last-event-id": cursor} if cursor else {}
        async with self.http.stream("GET", f"/v1/answers/{answer}/stream", headers=headers) as response:
            assert response.status_code == 200, response.status_code
            assert response.headers["content-type"].startswith("text/event-stream")
            async for line in response.aiter_lines():
                yield line
