"""The README's tables, held against the code."""

import re
from pathlib import Path

import msgspec

from services.api.http import problems
from shared.settings import Settings

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_every_setting_in_the_readme_has_that_default() -> None:
    for names, defaults, *_ in rows("Settings"):
        for name, default in zip(names.split(", "), defaults.split(", "), strict=False):
            value = getattr(Settings(), name.strip("`"))
            shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            assert default.strip("`") == shown, name


def test_every_error_type_of_the_code_is_in_the_readme_with_its_status() -> None:
    told = {
        name.strip("` "): int(status) for names, status, *_ in rows("Errors") for name in names.split(",")
    }
    assert told == {type_: status for type_, (status, _title) in problems.TYPES.items()}


def test_every_command_in_the_readme_exists() -> None:
    from infra.cli import commands

    named = re.findall(
        r"`(?:\./unspool )?([a-z]+)[ `]", README.split("## Commands")[1].split("## Providers")[0]
    )
    for name in {"up", "chat", "replay", "rebuild", "test", "api", "generator", "projector"} & set(named):
        assert name in commands.commands
