"""`OLLAMA_HOST` means to us what it means to Ollama."""

import pytest

from services.generator.providers.ollama import Ollama, host_url
from services.generator.providers.upstream import with_version
from shared.domain.errors import ConfigurationError
from shared.settings import ProviderSettings, Settings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("  ", "http://127.0.0.1:11434"),
        ("example.org", "http://example.org:11434"),
        ("example.org:80", "http://example.org:80"),
        ("example.org:5000/", "http://example.org:5000"),
        (":5000", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("http://0.0.0.0:5000", "http://127.0.0.1:5000"),
        ("http://example.org", "http://example.org:80"),
        ("http://example.org:11434", "http://example.org:11434"),
        ("https://example.org", "https://example.org:443"),
        ("https://example.org/ollama/", "https://example.org:443/ollama"),
        ('"example.org:5000"', "http://example.org:5000"),
        ("[::1]", "http://[::1]:11434"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("::1", "http://[::1]:11434"),
        ("::", "http://[::1]:11434"),
    ],
)
def test_every_form_of_the_host_is_understood(host: str, url: str) -> None:
    assert host_url(host) == url


@pytest.mark.parametrize("host", ["example.org:port", "example.org:99999", "[::1"])
def test_what_is_no_address_is_said_to_be_none(host: str) -> None:
    with pytest.raises(ConfigurationError, match="OLLAMA_HOST"):
        host_url(host)


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_the_version_may_be_left_out_of_a_base_url(url: str) -> None:
    assert with_version(url) == "http://h:1/v1"


async def test_going_on_with_a_text_is_off_unless_it_is_set() -> None:
    for prefill, expected in ((None, False), (True, True), (False, False)):
        provider = Ollama("ollama", ProviderSettings(kind="ollama", prefill=prefill), Settings())
        assert provider.can_continue("llama3") is expected
        await provider.close()
