"""Who may know whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
SOURCES = ("shared", "services", "infra")


def test_the_import_contracts_hold() -> None:
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_log_speaks_to_nats() -> None:
    importers = {path.parent for path in _sources() if "nats" in set(_imported(path))}
    assert importers == {CHECKOUT / "shared/log"}


def test_the_generator_knows_nothing_of_postgres() -> None:
    importers = [
        path for path in (CHECKOUT / "services/generator").rglob("*.py") if "asyncpg" in set(_imported(path))
    ]
    assert importers == []


def _sources() -> Iterator[Path]:
    for directory in SOURCES:
        yield from (CHECKOUT / directory).rglob("*.py")


def _imported(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
