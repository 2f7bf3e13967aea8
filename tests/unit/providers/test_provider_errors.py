"""Whatever a provider says in place of an answer, the caller knows what to do, and nobody learns the key."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.providers import provider_errors
from services.generator.providers.provider_errors import DETAIL_MAX_CHARS
from shared.domain.errors import ProviderError, ProviderRefused, ProviderUnavailable

KEY = "sk-secret-123"
NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


def complained(status: int, body: object = b"", **headers: str) -> ProviderError:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = httpx.Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return provider_errors.error_from_status(status, named, data, key=KEY, now=NOW)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_worth_another_try(status: int) -> None:
    error = complained(status)
    assert isinstance(error, ProviderUnavailable)
    assert error.status == status


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422])
def test_what_stays_is_not(status: int) -> None:
    error = complained(status)
    assert isinstance(error, ProviderRefused)
    assert error.status == status


def test_an_empty_account_is_no_limit_that_passes() -> None:
    body = {"error": {"message": "You exceeded your current quota.", "type": "insufficient_quota"}}
    assert isinstance(complained(429, body), ProviderRefused)


def test_a_redirect_says_what_to_set() -> None:
    error = complained(301, location="https://example.org/v1")
    assert isinstance(error, ProviderRefused)
    assert "Set base_url" in error.detail
    assert "https://example.org/v1" in error.detail


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no luck", "type": "x", "param": None, "code": None}},
        {"type": "error", "error": {"type": "x", "message": "no luck"}, "request_id": "r"},
        {"error": "no luck"},
        {"message": "no luck", "object": "error"},
        {"detail": "no luck"},
        {"detail": [{"loc": ["body", "x"], "msg": "no luck", "type": "missing"}]},
        [{"error": {"code": 400, "message": "no luck", "status": "INVALID_ARGUMENT"}}],
        {"errors": [{"message": "no luck"}]},
        b"no luck\n",
    ],
    ids=[
        "OpenAI",
        "Anthropic",
        "Ollama",
        "old vLLM",
        "FastAPI",
        "FastAPI list",
        "Google",
        "Cloudflare",
        "prose",
    ],
)
def test_the_providers_own_words_are_found(body: object) -> None:
    assert complained(400, body).detail == "no luck"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Bad gateway</html>",
        b"{",
        b"[]",
        b"[" * 10**5,
        b'{"error": null}',
        b'{"error": {}}',
    ],
)
def test_a_body_that_says_nothing_leaves_the_status_to_speak(body: bytes) -> None:
    assert complained(502, body).detail == "The provider responded with HTTP 502."


def test_the_wait_that_the_provider_asks_for_is_in_the_error() -> None:
    error = complained(429, retry_after="Thu, 01 Jan 2026 12:00:30 GMT")
    assert isinstance(error, ProviderUnavailable)
    assert error.retry_after_seconds == 30


@pytest.mark.parametrize(
    "body",
    [
        f"bad key {KEY}".encode(),
        {"error": {"message": f"Incorrect API key provided: {KEY}."}},
        {"error": {"odd": KEY}},
        {"error": f"{'x' * (DETAIL_MAX_CHARS - 5)}{KEY}"},
    ],
)
def test_the_key_is_never_told(body: object) -> None:
    detail = complained(401, body).detail
    assert KEY not in detail
    assert "sk-s" not in detail


def test_a_long_story_is_cut_short() -> None:
    assert len(complained(400, b"long " * 1000).detail) == DETAIL_MAX_CHARS


def test_a_detail_can_be_stored() -> None:
    assert complained(400, rb'{"error": "a\u0000b\ud83dc"}').detail == "a\ufffdb\ufffdc"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "type", "errors", "status"]), inner
        )
    ),
)


@given(st.integers(300, 599), JSON | st.binary(), st.booleans())
def test_no_complaint_is_too_odd(status: int, body: Any, begun: bool) -> None:  # noqa: FBT001
    for error in (complained(status, body), provider_errors.error_in_stream(body, begun=begun, key=KEY)):
        assert isinstance(error, ProviderError)
        assert 0 < len(error.detail) <= DETAIL_MAX_CHARS
