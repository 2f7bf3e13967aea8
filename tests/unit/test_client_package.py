"""The client is a package of its own; the documents that it decodes may be of a later version, or of no server of ours."""

import ast
import contextlib
import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unspool_client import Chat
from unspool_client.decoding import Undecodable
from unspool_client.decoding import decode as decode_json

CHECKOUT = Path(__file__).parents[2]
PACKAGE = CHECKOUT / "shared" / "client" / "unspool_client"


def test_the_package_imports_httpx_and_the_standard_library_only() -> None:
    imported = {
        name
        for path in PACKAGE.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in _packages(node)
    }
    assert imported - sys.stdlib_module_names == {"httpx", "unspool_client"}


def test_installed_alone_it_depends_on_httpx_only_and_is_typed() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [name.partition(">")[0] for name in project["dependencies"]] == ["httpx"]
    assert (PACKAGE / "py.typed").exists()


def test_what_it_shares_with_the_services_has_one_source() -> None:
    linked = {path.stem: path.resolve() for path in PACKAGE.glob("*.py") if path.is_symlink()}
    assert set(linked) == {"backoff", "hosts", "retry_after", "sse_decoder", "tool_calls", "version"}
    assert all(path.is_file() and path.is_relative_to(CHECKOUT / "shared") for path in linked.values())


def _packages(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names):
            return [alias.name.partition(".")[0] for alias in names]
        case ast.ImportFrom(str(module)):
            return [module.partition(".")[0]]
    return []


# --- documents -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("no json", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "$ is of another type"),
        ('{"id":"c"}', "$.cursor is missing"),
        ('{"id":1,"cursor":"c1"}', "$.id is of another type"),
        ('{"id":"c","cursor":"c1","archived":1}', "$.archived"),
        ('{"id":"c","cursor":"c1","created_at":"now"}', "$.created_at is no time"),
        ('{"id":"c","cursor":"c1","messages":[{"id":"m"}]}', "$.messages[0].role is missing"),
    ],
)
def test_a_document_of_another_form_is_an_error_that_names_its_place(text: str, place: str) -> None:
    with pytest.raises(Undecodable) as raised:
        decode_json(text, Chat)
    assert place in str(raised.value)


def test_fields_of_a_later_version_are_passed_over() -> None:
    text = '{"id":"c","cursor":"c1","colour":"red","created_at":"2026-01-01T00:00:00Z","metadata":{"a":[1]}}'
    chat = decode_json(text, Chat)
    assert (chat.id, chat.metadata, chat.messages) == ("c", {"a": [1]}, None)
    assert chat.created_at == datetime(2026, 1, 1, tzinfo=UTC)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_document_breaks_the_decoder(document: object) -> None:
    with contextlib.suppress(Undecodable):
        decode_json(json.dumps(document), Chat)
