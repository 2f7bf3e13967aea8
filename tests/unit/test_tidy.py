"""What a reader of this repository must never come upon."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LINES_MAX = 350
LONG_FOR_A_REASON = {
    "shared/log/event_log.py": "the one module that may import nats: what speaks to it cannot stand elsewhere",
}
"""Path and reason: one that a reader would accept."""
COMMANDS = {"services/api/read_model/rebuild.py"}
"""Modules of services that a person runs and watches."""
LEFTOVERS = re.compile("TO" + "DO|FIX" + "ME|XX" + "X|HA" + "CK")
PATHS = "|".join(f"/{name}/" for name in ("work", "root", "home", "Users"))
HOSTS = "|".join(rf"{name}[.]org" for name in ("pypi", "pythonhosted", "npmjs", "debian"))
OF_ONE_MACHINE = re.compile(f"{PATHS}|{HOSTS}")
BINARY = {".png", ".jpg", ".gif", ".ico", ".woff2", ".gz", ".webp"}


def _committed() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in names.split("\0") if name and (path := CHECKOUT / name).is_file()]


def _texts() -> dict[str, str]:
    texts = (path for path in _committed() if path.suffix not in BINARY)
    return {path.relative_to(CHECKOUT).as_posix(): path.read_text(encoding="utf-8") for path in texts}


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {name: text.count("\n") for name, text in _texts().items() if name.endswith(".py")}
    too_long = {
        name: lines for name, lines in lengths.items() if lines > LINES_MAX and name not in LONG_FOR_A_REASON
    }
    assert too_long == {}


@pytest.mark.parametrize(
    "pattern", [LEFTOVERS, OF_ONE_MACHINE], ids=["leftovers", "paths and hosts of one machine"]
)
def test_nothing_is_left_that_is_not_for_the_reader(pattern: re.Pattern[str]) -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name, text in _texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_only_commands_print() -> None:
    """What a service has to say goes to its log; why it cannot start, to the error stream too."""
    printing = [
        f"{name}:{node.lineno}"
        for name, text in _texts().items()
        if name.endswith(".py") and name.startswith(("shared/", "services/")) and name not in COMMANDS
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        if "sys.stderr" not in {ast.unparse(keyword.value) for keyword in node.keywords}
    ]
    assert printing == []
