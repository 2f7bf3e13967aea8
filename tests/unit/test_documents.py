"""The documents say what the code does: every setting, event, route, problem and command, and no other."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import Struct

from infra.cli import commands
from services.api.app import make_app
from services.api.http import problems
from shared.domain import events
from shared.settings import ProviderSettings, Settings

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
DOCUMENTS = sorted(
    path for path in (*CHECKOUT.glob("*.md"), *DOCS.rglob("*.md"), *(CHECKOUT / "shared").rglob("*.md"))
)
EVENTS = (*get_args(events.Fact), *get_args(events.AnswerEvent), events.CatalogueAnnounced)
TYPES = (events.TextPart, events.ToolCallFragment, events.Usage, events.Problem, events.AttemptSpan)
OF_EVERY_FACT = {"chat", "owner", "id"}


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def rows(section: str) -> list[list[str]]:
    """The cells of each row whose first cell is code."""
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def shown(value: object) -> str:
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    return f"`{msgspec.json.encode(value).decode()}`"


def test_every_setting_is_described_with_its_default() -> None:
    settings, _, _ = text("settings.md").partition("\n## Providers\n\nOne table")
    told = {name.strip("`"): default for name, default, _ in rows(settings)}
    fields = {name: shown(getattr(Settings(), name)) for name in Settings.__struct_fields__}
    del fields["providers"]
    assert told == fields


def test_every_key_of_a_provider_is_described_with_its_default() -> None:
    _, _, section = text("settings.md").partition("\n## Providers\n\nOne table")
    told = {name.strip("`"): default for name, default, _ in rows(section)}
    demo = ProviderSettings(kind="demo")
    fields = {name: shown(getattr(demo, name)) for name in ProviderSettings.__struct_fields__}
    assert told == fields | {"kind": "none: required"}


def sections(document: str) -> dict[str, str]:
    parts = re.split(r"^### `?([^`\n]+)`?\n", document, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def defaults_of(kind: type[Struct]) -> dict[str, str]:
    found = {}
    for field in msgspec.structs.fields(kind):
        if issubclass(kind, events._Fact) and field.name in OF_EVERY_FACT:
            continue
        default = (
            field.default_factory()
            if field.default is msgspec.NODEFAULT and not field.required
            else field.default
        )
        found[field.name] = "required" if field.required else f"`{msgspec.json.encode(default).decode()}`"
    return found


def test_every_event_is_described_with_its_subject_and_fields() -> None:
    told = sections(text("events.md"))
    tags = {str(kind.__struct_config__.tag): kind for kind in EVENTS}
    assert set(told) == set(tags) | {kind.__name__ for kind in TYPES}
    for tag, kind in tags.items():
        subject = {"token-emitted": "tokens.<chat>.<answer>", "catalogue-announced": "models.<provider>"}
        name = tag.partition(".")[0]
        expected = (
            f"chats.<chat>.{name}"
            if kind in get_args(events.Fact)
            else subject.get(name, "tokens.<chat>.<answer>")
        )
        assert f"Subject: `{expected}`" in told[tag], tag
        assert {cells[0].strip("`"): cells[2] for cells in rows(told[tag])} == defaults_of(kind), tag
    for kind in TYPES:
        assert {cells[0].strip("`"): cells[2] for cells in rows(told[kind.__name__])} == defaults_of(kind), (
            kind
        )


def test_every_route_and_no_other_is_described() -> None:
    told = set(re.findall(r"^### `([A-Z]+ /[^`]*)`$", text("http-api.md"), re.MULTILINE))
    paths = make_app(Settings()).openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert told == routes


def test_every_problem_is_described_with_its_status() -> None:
    _, _, section = text("http-api.md").partition("\n## Problems\n")
    told = {name.strip("` "): int(status) for names, status, _ in rows(section) for name in names.split(",")}
    assert told == {type_: status for type_, (status, _title) in problems.TYPES.items()}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_every_command_that_a_document_shows_exists(path: Path) -> None:
    shown_commands = set(re.findall(r"\./unspool ([a-z][a-z-]*)", path.read_text(encoding="utf-8")))
    assert shown_commands - set(commands.commands) == set()


def test_every_command_is_described() -> None:
    _, _, section = (CHECKOUT / "README.md").read_text(encoding="utf-8").partition("\n## Commands\n")
    told = set(
        re.findall(r"`(?:\./unspool )?([a-z]+)(?: [^`]*)?`", "\n".join(row[0] for row in rows(section)))
    )
    assert set(commands.commands) <= told


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(CHECKOUT).as_posix())
def test_every_link_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (path.parent / link).exists()] == []
