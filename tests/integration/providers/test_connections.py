"""Connections are used again when they are whole, closed at once when they are not, and the key stays secret."""

import asyncio
import logging
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from shutil import which

import pytest
from rich.console import Console
from rich.traceback import Traceback

from services.generator.providers import Finished, Prompt, PromptMessage, Provider, TextDelta
from services.generator.providers.anthropic import API_VERSION, Anthropic
from services.generator.providers.openai import OpenAI
from services.generator.providers.retry import stream_with_retries
from services.generator.providers.upstream import IDLE_CONNECTIONS_MAX, Key, Upstream
from shared.domain.errors import ConfigurationError, ProviderError, ProviderRefused
from shared.settings import ProviderSettings, Settings
from tests.support.provider_scripts import Step, anthropic, openai, openai_events, status, stream
from tests.support.scripted_provider import ScriptedProvider

SETTINGS = Settings()
SECRET = "sk-very-secret-0123456789"
PROMPT = Prompt(model="m", messages=(PromptMessage("user", "Hi"),))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


@pytest.fixture
async def provider(server: ScriptedProvider) -> AsyncIterator[Provider]:
    made = OpenAI("test", ProviderSettings(kind="openai", base_url=server.base_url), SETTINGS, Key(SECRET))
    yield made
    await made.close()


async def text_of(provider: Provider) -> str:
    async with aclosing(provider.stream(PROMPT)) as deltas:
        return "".join([delta.text async for delta in deltas if isinstance(delta, TextDelta)])


# --- opening and closing -------------------------------------------------------------------------------


async def test_a_connection_whose_answer_was_read_is_used_again(
    server: ScriptedProvider, provider: Provider
) -> None:
    assert await text_of(provider) == await text_of(provider) == "Hello there."
    assert [request.connection for request in server.requests] == [1, 1]


async def test_a_reader_that_goes_away_with_the_end_leaves_a_good_connection(
    server: ScriptedProvider, provider: Provider
) -> None:
    for _ in range(2):
        deltas = provider.stream(PROMPT)
        async for delta in deltas:
            if isinstance(delta, Finished):
                break
        await deltas.aclose()
    assert [request.connection for request in server.requests] == [1, 1]


async def test_a_refusal_leaves_a_good_connection(server: ScriptedProvider, provider: Provider) -> None:
    server.script(status(400, "no"), openai("a"))
    with pytest.raises(ProviderRefused):
        await text_of(provider)
    assert await text_of(provider) == "a"
    assert [request.connection for request in server.requests] == [1, 1]


@pytest.mark.parametrize("through_retry", [False, True])
async def test_closing_the_iterator_closes_the_socket(
    server: ScriptedProvider,
    provider: Provider,
    through_retry: bool,  # noqa: FBT001
) -> None:
    server.script(stream(*openai_events("Hel", "lo")[:2], Step.STALL))
    deltas = stream_with_retries(provider, PROMPT, SETTINGS) if through_retry else provider.stream(PROMPT)
    assert await anext(deltas) == TextDelta("Hel")
    await deltas.aclose()
    await server.exchanges[0].gone.wait()
    await server.wait_closed(1)
    assert await text_of(provider) == "Hello there."
    assert [request.connection for request in server.requests] == [1, 2]


@pytest.mark.parametrize("before_the_head", [True, False])
async def test_cancelling_the_reader_closes_the_socket(
    server: ScriptedProvider,
    provider: Provider,
    before_the_head: bool,  # noqa: FBT001
) -> None:
    server.script((Step.STALL,) if before_the_head else stream(Step.STALL))
    reading = asyncio.create_task(text_of(provider))
    exchange = await server.wait_requests(1)
    reading.cancel()
    await exchange.gone.wait()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await server.wait_closed(1)
    assert server.connections == 0


async def test_many_answers_come_at_once_and_leave_no_connection_behind(server: ScriptedProvider) -> None:
    made = OpenAI("test", ProviderSettings(kind="openai", base_url=server.base_url), SETTINGS)
    gate = asyncio.Event()
    server.respond = lambda _: stream(gate, *openai_events("Hel", "lo"))
    async with asyncio.TaskGroup() as group:
        texts = [group.create_task(text_of(made)) for _ in range(150)]
        await server.wait_requests(150)
        gate.set()
    assert {text.result() for text in texts} == {"Hello"}
    await server.wait_closed(150 - IDLE_CONNECTIONS_MAX)  # no more than that are kept for others
    await made.close()
    await server.wait_closed()
    assert server.opened == 150


# --- the key -------------------------------------------------------------------------------------------


async def test_the_key_is_sent_as_each_api_wants_it(server: ScriptedProvider, provider: Provider) -> None:
    server.script(openai("a"), anthropic("b"))
    await text_of(provider)
    other = Anthropic(
        "test", ProviderSettings(kind="anthropic", base_url=server.origin), SETTINGS, Key(SECRET)
    )
    assert await text_of(other) == "b"
    await other.close()
    first, second = server.requests
    assert first.headers["authorization"] == f"Bearer {SECRET}"
    assert (second.headers["x-api-key"], second.headers["anthropic-version"]) == (SECRET, API_VERSION)
    assert second.path == "/v1/messages"
    assert "authorization" not in second.headers


async def test_without_a_key_none_is_sent(server: ScriptedProvider) -> None:
    made = OpenAI("test", ProviderSettings(kind="openai", base_url=server.base_url), SETTINGS)
    await text_of(made)
    await made.close()
    assert "authorization" not in server.requests[0].headers


@pytest.mark.parametrize(
    "script",
    [status(401, f"Wrong key: {SECRET}"), (Step.CUT,), stream(*openai_events("a")[:2], Step.CUT)],
    ids=["refused", "reset", "cut"],
)
async def test_no_error_no_traceback_and_no_log_shows_the_key(
    server: ScriptedProvider, provider: Provider, script: tuple[Step, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script(script)
    with pytest.raises(ProviderError) as caught:
        await text_of(provider)
    assert server.requests[0].headers["authorization"] == f"Bearer {SECRET}"
    # The first frame is the test's own, whose locals do hold the key.
    inside = Traceback.from_exception(
        caught.type, caught.value, caught.tb.tb_next, show_locals=True, locals_max_string=1000
    )
    console = Console(width=1000)
    with console.capture() as captured:
        console.print(inside)
    shown = [
        captured.get(),
        "".join(traceback.format_exception(caught.value)),
        repr(caught.value),
        caplog.text,
    ]
    assert all(SECRET not in text for text in shown)
    assert "locals" in shown[0]


def test_no_repr_shows_the_key() -> None:
    assert (
        SECRET
        not in repr(Key(SECRET))
        + str(Key(SECRET))
        + f"{vars(OpenAI('x', ProviderSettings(kind='openai'), SETTINGS, Key(SECRET)))}"
    )


@pytest.mark.parametrize("key", [f"{SECRET}\n", f"{SECRET} x", "ключ", ""])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Key(key)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "localhost:8000/v1",
        "ftp://example.org",
        "http://",
        "http://u:p@example.org/v1",
        "http://u:p@[::1",
        "https://example.org/v1?a=b",
    ],
)
def test_an_address_that_cannot_work_is_told_at_once_and_without_its_password(base_url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Upstream(base_url, SETTINGS)
    assert "u:p" not in str(caught.value)


# --- proxies and certificates by the usual variables -----------------------------------------------------


async def test_a_proxy_is_used_for_others_and_not_for_this_machine(
    server: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.origin)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    away = OpenAI("away", ProviderSettings(kind="openai", base_url="http://provider.test/v1"), SETTINGS)
    assert await text_of(away) == "Hello there."
    assert server.requests[0].path == "http://provider.test/v1/chat/completions"
    here = OpenAI("here", ProviderSettings(kind="openai", base_url=server.base_url), SETTINGS)
    assert await text_of(here) == "Hello there."
    assert server.requests[1].path == "/v1/chat/completions"
    await away.close()
    await here.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Of an authority that nobody knows, with its key."""
    if which("openssl") is None:
        pytest.skip("openssl, to make a certificate, is not installed")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run([*command.split(), "-out", certificate, "-keyout", key], check=True, capture_output=True)
    return certificate, key


async def test_a_certificate_authority_of_ones_own_is_named_by_ssl_cert_file(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with ScriptedProvider(tls=context) as server:
        table = ProviderSettings(kind="openai", base_url=server.base_url)
        stranger = OpenAI("test", table, SETTINGS)
        with pytest.raises(ProviderError, match="CERTIFICATE_VERIFY_FAILED"):
            await text_of(stranger)
        await stranger.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        friend = OpenAI("test", table, SETTINGS)
        assert await text_of(friend) == "Hello there."
        await friend.close()
