"""A mock of OpenAI and Anthropic that none of us wrote (`@copilotkit/aimock`), with its own ideas of a stream."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest

from services.generator.providers import Prompt, PromptMessage, ReasoningDelta, TextDelta, ToolCallDelta
from services.generator.providers.registry import Registry, make_registry
from shared.domain.errors import ProviderError, ProviderInterrupted, ProviderRefused, ProviderUnavailable
from shared.settings import ProviderSettings, Settings

PACKAGE = "@copilotkit/aimock@1.43.0"
START_SECONDS = 90
GREETING = "Hello, 猫 🐈🐈🐈 how are you?"
CALLS = [{"id": "a", "name": "f", "arguments": '{"x":1}'}, {"id": "b", "name": "g", "arguments": "{}"}]
KINDS = pytest.mark.parametrize("model", ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"])


def fixture(message: str, response: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"match": {"userMessage": message}, "response": response, **more}


def error(status: int, kind: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "no luck", "type": kind}, "status": status, **more}


FIXTURES = [
    # Pieces of so few UTF-16 units cut emoji in two halves, which it escapes in two events.
    fixture("greet", {"content": GREETING, "reasoning": "They greet me."}, chunkSize=2),
    fixture("call", {"toolCalls": CALLS}, chunkSize=3),
    fixture("limited", error(429, "rate_limit_error", retryAfter=7)),
    fixture("refused", error(400, "invalid_request_error")),
    # Without a latency it cuts before anything has left its buffers.
    fixture("cut", {"content": "one two three four five"}, chunkSize=4, latency=20, truncateAfterChunks=4),
    fixture("malformed", {"content": "one"}, chaos={"malformedRate": 1}),
    fixture("dropped", {"content": "one"}, chaos={"dropRate": 1}),
    fixture("gone", {"content": "one"}, chaos={"disconnectRate": 1}),
]


@pytest.fixture(scope="module")
async def aimock(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Its address; or a reason to skip, if it cannot be had here."""
    if shutil.which("npx") is None:
        pytest.skip("npx is not installed")
    directory = tmp_path_factory.mktemp("aimock")
    process = await _start(directory)
    try:
        yield await _address(process, directory)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        # Whatever it still has to say, it has to be read, for the pipe to close.
        await process.communicate()


async def _start(directory: Path) -> asyncio.subprocess.Process:
    (directory / "fixtures.json").write_text(json.dumps({"fixtures": FIXTURES}))
    config = {"llm": {"fixtures": str(directory / "fixtures.json"), "logLevel": "silent"}}
    (directory / "config.json").write_text(json.dumps(config))
    command = [
        "npx",
        "--yes",
        "--prefer-offline",
        PACKAGE,
        "--config",
        str(directory / "config.json"),
        "--port",
        "0",
    ]
    with (directory / "errors").open("wb") as errors:
        return await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=errors, cwd=directory, start_new_session=True
        )


async def _address(process: asyncio.subprocess.Process, directory: Path) -> str:
    assert process.stdout is not None
    line = b""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            line = await process.stdout.readline()
    if b"listening on " not in line:
        said = (directory / "errors").read_text(errors="replace").strip().splitlines()
        why = next((line for line in said if "error" in line), "it says nothing")
        pytest.skip(f"{PACKAGE} does not start: {why}")
    return line.decode().strip().rpartition(" ")[2]


@pytest.fixture
async def registry(aimock: str) -> AsyncIterator[Registry]:
    providers = {
        "openai": ProviderSettings(kind="openai", base_url=f"{aimock}/v1"),
        "anthropic": ProviderSettings(kind="anthropic", base_url=aimock),
    }
    async with await make_registry(Settings(providers=providers), {}) as found:
        yield found


class Heard:
    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.calls: dict[int, list[str]] = {}
        self.finish_reason = ""
        self.output_tokens = 0
        self.error: ProviderError | None = None


async def ask(registry: Registry, name: str, question: str) -> Heard:
    provider, model = registry.find(name)
    heard = Heard()
    try:
        async with aclosing(
            provider.stream(Prompt(model=model, messages=(PromptMessage("user", question),)))
        ) as deltas:
            async for delta in deltas:
                match delta:
                    case TextDelta(text):
                        heard.text += text
                    case ReasoningDelta(text):
                        heard.reasoning += text
                    case ToolCallDelta(part):
                        call = heard.calls.setdefault(part.index, ["", "", ""])
                        for place, piece in enumerate((part.id, part.name, part.arguments)):
                            call[place] += piece
                    case finished:
                        heard.finish_reason = finished.finish_reason
                        heard.output_tokens = finished.usage.output_tokens
    except ProviderError as error_:
        heard.error = error_
    return heard


@KINDS
async def test_an_answer_comes_whole_with_its_reasoning_and_its_usage(registry: Registry, model: str) -> None:
    heard = await ask(registry, model, "greet")
    assert (heard.text, heard.reasoning, heard.finish_reason) == (GREETING, "They greet me.", "stop")
    assert heard.output_tokens > 0 or model.startswith("anthropic/")  # there it counts nothing itself


@KINDS
async def test_tool_calls_come_whole_and_in_order(registry: Registry, model: str) -> None:
    heard = await ask(registry, model, "call")
    assert heard.calls == {0: ["a", "f", '{"x":1}'], 1: ["b", "g", "{}"]}
    assert heard.finish_reason == "tool_calls"


@KINDS
async def test_a_limit_says_how_long_to_wait(registry: Registry, model: str) -> None:
    found = (await ask(registry, model, "limited")).error
    assert isinstance(found, ProviderUnavailable)
    assert (found.detail, found.retry_after_seconds, found.status) == ("no luck", 7, 429)


@KINDS
async def test_a_refusal_is_told(registry: Registry, model: str) -> None:
    found = (await ask(registry, model, "refused")).error
    assert isinstance(found, ProviderRefused)
    assert (found.detail, found.status) == ("no luck", 400)


@KINDS
async def test_a_stream_that_is_cut_was_interrupted(registry: Registry, model: str) -> None:
    heard = await ask(registry, model, "cut")
    assert "one two three four five".startswith(heard.text)
    assert isinstance(heard.error, ProviderInterrupted)


@KINDS
@pytest.mark.parametrize(
    ("question", "kind"),
    [("malformed", ProviderInterrupted), ("dropped", ProviderUnavailable), ("gone", ProviderUnavailable)],
)
async def test_chaos_is_told_for_what_it_is(
    registry: Registry, model: str, question: str, kind: type[ProviderError]
) -> None:
    heard = await ask(registry, model, question)
    assert heard.text == ""
    assert isinstance(heard.error, kind)


async def test_its_models_are_listed(registry: Registry) -> None:
    found = {one.provider: one.models for one in await registry.list_catalogues()}
    assert "gpt-4o" in found["openai"]
