"""The command line itself: help, completion, and arguments that contradict each other."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from infra.cli import COMPLETION_VARIABLE, commands
from shared.settings import Settings

CHECKOUT = Path(__file__).parents[2]
COLUMNS = 80


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(commands, arguments, prog_name="unspool", terminal_width=COLUMNS)
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(commands, arguments, prog_name="unspool", terminal_width=COLUMNS)
    assert result.exit_code == 2, result.output
    return result.output


def test_the_list_of_commands_holds_whole_sentences() -> None:
    text = shown("--help")
    assert "..." not in text.partition("Commands:")[2]
    for name, command in commands.commands.items():
        sentence = command.get_short_help_str(1000)
        assert " ".join(sentence.split()) in " ".join(text.split()), name


@pytest.mark.parametrize("name", [None, *commands.commands])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_fits_into_a_terminal_and_does_nothing_else(name: str | None, option: str) -> None:
    text = shown(*([name] if name else []), option)
    assert text.startswith("Usage: unspool")
    assert max(len(line) for line in text.splitlines()) <= COLUMNS


@pytest.mark.parametrize("where", ["group", "command"])
def test_up_takes_its_configuration_before_or_after_its_name(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.local import up

    given: list[tuple[Settings, up.Options]] = []

    def note(settings: Settings, options: up.Options) -> int:
        given.append((settings, options))
        return 0

    monkeypatch.setattr(up, "main", note)
    (file := tmp_path / "mine.toml").write_text('owner = "me"\n')
    config = ("--config", str(file))
    shown(*config, "up") if where == "group" else shown("up", *config)
    [(settings, options)] = given
    assert settings.owner == "me"
    assert options.config == file


def test_the_configuration_that_is_named_after_up_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.local import up

    owners: list[str] = []
    monkeypatch.setattr(up, "main", lambda settings, _: owners.append(settings.owner))
    for name in ("one", "other"):
        (tmp_path / name).write_text(f'owner = "{name}"\n')
    shown("--config", str(tmp_path / "one"), "up", "--config", str(tmp_path / "other"))
    assert owners == ["other"]


def test_replay_takes_a_chat_or_the_last_one() -> None:
    assert "either the id of a chat or --last" in refused("replay", "some-chat", "--last")
    assert "either the id of a chat or --last" in refused("replay")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_script_of_a_shell(shell: str) -> None:
    script = shown("completion", shell)
    assert COMPLETION_VARIABLE in script
    assert "unspool" in script
    assert shell in refused("completion", "tcsh")


def complete(*words: str) -> list[str]:
    """Asks as a shell does, in a process of its own."""
    environ = os.environ | {
        COMPLETION_VARIABLE: "bash_complete",
        "COMP_WORDS": " ".join(["unspool", *words]),
        "COMP_CWORD": str(len(words)),
        "PYTHONPATH": str(CHECKOUT),
    }
    command = [sys.executable, "-P", "-m", "infra.cli"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_a_shell_gets_commands_and_options() -> None:
    assert complete("re") == ["rebuild", "replay"]
    assert "--follow" in complete("replay", "--f")


def test_the_command_line_imports_nothing_heavy_before_a_command_runs() -> None:
    """A completion imports the command line at each key, so its imports are its time."""
    heavy = ("asyncio", "asyncpg", "httpx", "nats", "fastapi", "rich", "prompt_toolkit", "platformdirs")
    program = f"import sys, infra.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_every_command_is_a_sentence() -> None:
    assert all(isinstance(command, click.Command) and command.help for command in commands.commands.values())


@pytest.mark.parametrize(("status", "ran"), [(0, True), (1, False), (130, False)])
def test_test_installs_its_tools_first_and_ends_where_that_fails(
    monkeypatch: pytest.MonkeyPatch, status: int, *, ran: bool
) -> None:
    from infra import bootstrap, checks

    called: list[str] = []

    def note(name: str, returned: int) -> Callable[..., int]:
        def call(*_: object, **__: object) -> int:
            called.append(name)
            return returned

        return call

    monkeypatch.setattr(bootstrap, "add_tools", note("install", status))
    monkeypatch.setattr(checks, "main", note("checks", 0))
    assert CliRunner().invoke(commands, ["test"]).exit_code == status
    assert called == ["install", *(["checks"] if ran else [])]
    called.clear()
    assert "Run all checks" in shown("test", "--help")
    assert called == []
