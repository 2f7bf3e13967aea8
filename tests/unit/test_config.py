"""All commands read the same settings file, and all say the same version."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import infra.inspect.replay
import infra.local.up
import infra.verify.command
from infra.cli import commands
from infra.local.data_directory import DataDirectory
from infra.local.own_processes import OwnProcesses
from services.api.app import make_app
from shared.domain.errors import ConfigurationError
from shared.settings import Settings, find_config, is_set, load
from shared.version import VERSION

CHECKOUT = Path(__file__).parents[2]
URL = "nats://elsewhere:4222"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory without a settings file, and an environment without settings."""
    for name in ("UNSPOOL_NATS_URL", "UNSPOOL_POSTGRES_URL", "UNSPOOL_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_settings_file_is_that_of_the_option_else_of_the_environment_else_here(there: Path) -> None:
    assert find_config(None, {}) is None
    (there / "unspool.toml").touch()
    assert find_config(None, {}) == Path("unspool.toml")
    environ = {"UNSPOOL_CONFIG": "named.toml"}
    assert find_config(None, environ) == Path("named.toml")
    assert find_config(Path("option.toml"), environ) == Path("option.toml")


@pytest.mark.parametrize("by", ["option", "variable", "place"])
def test_a_setting_is_set_where_it_is_loaded_from(there: Path, by: str) -> None:
    config = there / ("unspool.toml" if by == "place" else "own.toml")
    config.write_text(f'nats_url = "{URL}"')
    option = config if by == "option" else None
    environ = {"UNSPOOL_CONFIG": str(config)} if by == "variable" else {}
    assert load(option, environ).nats_url == URL
    assert is_set("nats_url", option, environ)
    assert not is_set("postgres_url", option, environ)
    assert is_set("postgres_url", option, environ | {"UNSPOOL_POSTGRES_URL": "postgresql://there/db"})
    assert not is_set("postgres_url", option, environ | {"UNSPOOL_POSTGRES_URL": ""})


def test_a_named_settings_file_that_is_missing_is_an_error(there: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read missing"):
        load(None, {"UNSPOOL_CONFIG": "missing.toml"})
    with pytest.raises(ConfigurationError, match="cannot read missing"):
        is_set("nats_url", Path("missing.toml"), {})


@pytest.mark.parametrize("by", ["option", "variable", "place"])
def test_up_and_the_commands_beside_it_use_the_same_log(
    there: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    config = there / ("unspool.toml" if by == "place" else "own.toml")
    config.write_text(f'nats_url = "{URL}"')
    if by == "variable":
        monkeypatch.setenv("UNSPOOL_CONFIG", str(config))
    given = ["--config", str(config)] if by == "option" else []
    called: list[tuple[Settings, Any]] = []

    def main(settings: Settings, options: Any) -> int:
        called.append((settings, options))
        return 0

    for module in (infra.local.up, infra.inspect.replay, infra.verify.command):
        monkeypatch.setattr(module, "main", main)
    for command in (["up"], ["replay", "x"], ["verify"]):
        done = CliRunner().invoke(commands, [*given, *command], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert {settings.nats_url for settings, _ in called} == {URL}
    options = called[0][1]
    assert is_set("nats_url", options.config)  # so `up` starts no server of its own
    own = OwnProcesses(called[0][0], options.config, DataDirectory(there / "data"), {})
    for program in (own.api(1), own.generator(1)):
        at = program.argv.index("--config")
        assert program.argv[at + 1] == str(config)


def test_the_version_stands_in_one_place() -> None:
    for name in ("pyproject.toml", "shared/client/pyproject.toml"):
        project = tomllib.loads((CHECKOUT / name).read_text(encoding="utf-8"))
        assert project["project"]["dynamic"] == ["version"]
        source = (CHECKOUT / name).parent / project["tool"]["hatch"]["version"]["path"]
        assert source.resolve() == CHECKOUT / "shared" / "version.py"
    assert CliRunner().invoke(commands, ["--version"]).output == f"unspool, version {VERSION}\n"
    assert make_app(Settings()).openapi()["info"]["version"] == VERSION
    for name in ("infra/Dockerfile", "infra/compose.yaml", "infra/cli.py", "services/api/app.py"):
        assert VERSION not in (CHECKOUT / name).read_text(encoding="utf-8")


def test_the_changelog_begins_with_this_version() -> None:
    lines = (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line.startswith("## ")).split()[1].rstrip(",") == VERSION
