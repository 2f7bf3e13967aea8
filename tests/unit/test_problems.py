"""Faults of ours, and bodies at their bounds, without a server."""

import contextlib
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.api.app import make_app
from services.api.http import problems
from services.api.http.json_body import DEPTH_MAX, KEYS_MAX, parse
from shared.settings import Settings


async def test_a_fault_of_ours_is_a_document_that_says_nothing_of_it() -> None:
    app = make_app(Settings())  # without what is behind the routes: each of them fails
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        response = await client.get("/v1/chats")
    assert (response.status_code, response.headers["content-type"]) == (500, problems.MEDIA_TYPE)
    assert response.json() == {
        "type": "urn:unspool:internal",
        "title": "Internal server error",
        "status": 500,
        "detail": "An unexpected error occurred. The server's log has its traceback.",
    }


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(JSON)
def test_what_is_json_for_everyone_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == parse(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"[" * DEPTH_MAX + b"]" * DEPTH_MAX,
        json.dumps({str(number): number for number in range(KEYS_MAX)}).encode(),
        str(2**64 - 1).encode(),
        str(-(2**63)).encode(),
        b"1.7976931348623157e308",
        b"-0.0",
        b' \t\r\n{"a": {"a": {"a": 1}}} \n',
    ],
    ids=lambda body: body[:20].decode(),
)
def test_what_is_just_within_the_bounds_is_read(body: bytes) -> None:
    assert parse(body) == json.loads(body)


@given(st.binary(max_size=100))
def test_whatever_bytes_come_they_are_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(problems.Refused):
        parse(body)
