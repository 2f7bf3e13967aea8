"""The health port responds to the platform, within limits, and closes without a trace."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from shared import health_port
from shared.domain.errors import ConfigurationError
from shared.health_port import HealthPort
from shared.settings import Settings
from tests.support.servers import free_port


@contextlib.asynccontextmanager
async def open_port(
    port: int, settings: Settings | None = None, *, reason: str = ""
) -> AsyncIterator[httpx.AsyncClient]:
    here = HealthPort(port, settings or Settings(), not_ready=lambda: reason, measure=lambda: None)
    async with here.open(), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        yield http


async def exchange(port: int, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_it_serves_health_and_metrics_one_request_per_connection() -> None:
    async with open_port(free_port(), reason="the log is not connected") as http:
        live, ready, scraped = [await http.get(path) for path in ("/livez", "/readyz", "/metrics")]
    assert (live.status_code, live.text, live.headers["connection"]) == (200, "ok\n", "close")
    assert (ready.status_code, ready.text) == (503, "the log is not connected\n")
    assert "unspool_log_connected" in scraped.text
    assert scraped.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_metrics_need_a_key_where_one_is_set() -> None:
    async with open_port(free_port(), Settings(metrics_key="k")) as http:
        assert (await http.get("/metrics")).status_code == 401
        assert (await http.get("/metrics", headers={"authorization": "Bearer k"})).status_code == 200
        assert (await http.get("/readyz")).status_code == 200


async def test_other_paths_and_methods_are_refused_and_head_has_no_body() -> None:
    async with open_port(free_port()) as http:
        assert (await http.get("/elsewhere")).status_code == 404
        assert (await http.post("/livez")).status_code == 405
        head = await http.head("/livez")
        assert (head.status_code, head.text) == (200, "")


async def test_a_head_has_a_limit_in_bytes_and_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_port, "_CONNECTION_SECONDS", 0.2)
    port = free_port()
    async with open_port(port):
        assert (await exchange(port, b"GET /livez HTTP/1.1\r\na: " + b"x" * 9000)).startswith(b"HTTP/1.1 431")
        assert await exchange(port, b"GET /livez HTTP/1.1\r\n") == b""


async def test_it_closes_at_once_although_a_connection_is_open() -> None:
    port = free_port()
    async with open_port(port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /livez")
        await writer.drain()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 2
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_that_is_taken_is_a_configuration_error_at_the_start() -> None:
    port = free_port()
    async with open_port(port):
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}"):
            async with open_port(port):
                pass


async def test_port_0_opens_nothing() -> None:
    async with HealthPort(0, Settings(), not_ready=str, measure=lambda: None).open():
        pass
