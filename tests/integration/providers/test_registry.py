"""A process has the providers that its file names, else those that its environment has, else the demo."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from services.generator.providers import Prompt, PromptMessage, TextDelta
from services.generator.providers.registry import Registry, make_registry
from shared.domain.errors import ConfigurationError, ProviderRefused
from shared.domain.events import CatalogueAnnounced
from shared.settings import ProviderSettings, Settings
from tests.support.provider_scripts import anthropic, event, openai, stream
from tests.support.scripted_provider import ScriptedProvider

NO_OLLAMA = {"OLLAMA_HOST": "127.0.0.1:1"}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


def tables(**providers: ProviderSettings) -> Settings:
    return Settings(providers=providers)


async def said(registry: Registry, name: str) -> str:
    provider, model = registry.find(name)
    prompt = Prompt(model=model, messages=(PromptMessage("user", "Hi"),))
    async with aclosing(provider.stream(prompt)) as deltas:
        return "".join([delta.text async for delta in deltas if isinstance(delta, TextDelta)])


# --- which providers there are -------------------------------------------------------------------------


async def test_with_nothing_configured_there_is_the_demo() -> None:
    async with await make_registry(Settings(), NO_OLLAMA) as registry:
        assert registry.names == ("demo",)
        assert (await said(registry, "demo/50x0ms")).startswith("This is a demo")


async def test_the_usual_variables_are_enough(server: ScriptedProvider) -> None:
    environ = NO_OLLAMA | {
        "OPENAI_API_KEY": "sk-openai",
        "OPENAI_BASE_URL": server.base_url,
        "ANTHROPIC_API_KEY": "sk-anthropic",
        "ANTHROPIC_BASE_URL": server.origin,
    }
    server.script(openai("a"), anthropic("b"))
    async with await make_registry(Settings(), environ) as registry:
        assert registry.names == ("openai", "anthropic")
        assert await said(registry, "openai/m") == "a"
        assert await said(registry, "anthropic/m") == "b"
    assert server.requests[0].headers["authorization"] == "Bearer sk-openai"
    assert server.requests[1].headers["x-api-key"] == "sk-anthropic"


async def test_an_address_without_a_key_is_a_provider_too(server: ScriptedProvider) -> None:
    async with await make_registry(Settings(), NO_OLLAMA | {"OPENAI_BASE_URL": server.base_url}) as registry:
        assert await said(registry, "openai/m") == "Hello there."
    assert "authorization" not in server.requests[0].headers


async def test_an_ollama_that_answers_is_found(server: ScriptedProvider) -> None:
    server.documents["/api/version"] = {"version": "0.12.0"}
    server.models = ["llama3:8b"]
    async with await make_registry(
        Settings(), {"OLLAMA_HOST": server.origin.removeprefix("http://")}
    ) as registry:
        assert registry.names == ("ollama",)
        assert await registry.list_catalogues() == [
            CatalogueAnnounced(provider="ollama", kind="ollama", models=("llama3:8b",))
        ]
        assert await said(registry, "ollama/llama3:8b") == "Hello there."


@pytest.mark.parametrize("document", [None, {"hello": "world"}, ["version"]])
async def test_another_server_on_ollamas_port_is_no_ollama(
    server: ScriptedProvider, document: object
) -> None:
    if document is not None:
        server.documents["/api/version"] = document
    async with await make_registry(Settings(), {"OLLAMA_HOST": server.origin}) as registry:
        assert registry.names == ("demo",)


async def test_what_is_configured_is_all_there_is(server: ScriptedProvider) -> None:
    settings = tables(
        mine=ProviderSettings(kind="openai", base_url=server.base_url), demo=ProviderSettings(kind="demo")
    )
    async with await make_registry(settings, {"OPENAI_API_KEY": "sk-x"}) as registry:
        assert registry.names == ("mine", "demo")


async def test_an_address_that_cannot_work_is_told_with_its_providers_name() -> None:
    with pytest.raises(ConfigurationError, match=r"^provider 'mine': "):
        await make_registry(tables(mine=ProviderSettings(kind="openai", base_url="nowhere")), {})


# --- keys ------------------------------------------------------------------------------------------------


async def test_a_key_goes_where_its_variable_is_named_and_nowhere_else(server: ScriptedProvider) -> None:
    settings = tables(
        named=ProviderSettings(kind="openai", base_url=server.base_url, api_key_env="MY_KEY"),
        other=ProviderSettings(kind="openai", base_url=server.base_url),
        unset=ProviderSettings(kind="openai", base_url=server.base_url, api_key_env="NO_KEY"),
    )
    async with await make_registry(
        settings, {"MY_KEY": " sk-mine\n", "OPENAI_API_KEY": "sk-openai"}
    ) as registry:
        for name in registry.names:
            await said(registry, f"{name}/m")
    assert [request.headers.get("authorization") for request in server.requests] == [
        "Bearer sk-mine",
        None,
        None,
    ]


async def test_a_key_that_cannot_be_sent_is_told_with_its_providers_name_only() -> None:
    settings = tables(mine=ProviderSettings(kind="openai", api_key_env="MY_KEY"))
    with pytest.raises(
        ConfigurationError, match=r"^provider 'mine': the provider's key contains characters"
    ) as caught:
        await make_registry(settings, {"MY_KEY": "sk mine"})
    assert "sk mine" not in str(caught.value)


# --- models ----------------------------------------------------------------------------------------------


async def test_a_model_is_found_by_its_provider_whatever_its_own_name() -> None:
    async with await make_registry(tables(mine=ProviderSettings(kind="demo")), {}) as registry:
        provider, model = registry.find("mine/org/some:model@1")
        assert (provider.name, provider.kind, model) == ("mine", "demo", "org/some:model@1")


@pytest.mark.parametrize("model", ["other/m", "m", "", "mine", "mine/", "/m"])
async def test_a_model_of_no_provider_is_refused(model: str) -> None:
    async with await make_registry(tables(mine=ProviderSettings(kind="demo")), {}) as registry:
        with pytest.raises(ProviderRefused, match="Providers: mine"):
            registry.find(model)


async def test_a_provider_that_does_not_answer_hides_neither_itself_nor_the_others(
    server: ScriptedProvider,
) -> None:
    settings = tables(
        away=ProviderSettings(kind="openai", base_url="http://127.0.0.1:1/v1"),
        odd=ProviderSettings(kind="anthropic", base_url=f"{server.origin}/odd"),
        here=ProviderSettings(kind="openai", base_url=server.base_url),
        listed=ProviderSettings(kind="openai", base_url="http://127.0.0.1:1/v1", models=("x",)),
        demo=ProviderSettings(kind="demo", models=("5x5ms",)),
    )
    async with await make_registry(settings, {}) as registry:
        found = {one.provider: (one.models, one.pattern) for one in await registry.list_catalogues()}
        demo, _ = registry.find("demo/5x5ms")
    assert found == {
        "away": ((), ".+"),
        "odd": ((), ".+"),
        "here": (("scripted",), ""),
        "listed": (("x",), ""),
        "demo": (("5x5ms",), demo.pattern),
    }


# --- what comes out ----------------------------------------------------------------------------------------


async def test_what_comes_out_can_be_stored(server: ScriptedProvider) -> None:
    """NUL, and an emoji whose halves are escaped in two events."""
    halves = [rb"a\u0000b \ud83d", rb"\udc08 \ud83d"]
    server.script(
        stream(
            *(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % half for half in halves),
            event("[DONE]"),
        )
    )
    settings = tables(mine=ProviderSettings(kind="openai", base_url=server.base_url))
    async with await make_registry(settings, {}) as registry:
        assert await said(registry, "mine/m") == "a\ufffdb \U0001f408 \ufffd"
