"""`unspool test`: every check, then every test. One that fails does not keep the next from being run."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parent.parent


def main(pytest_arguments: Sequence[str]) -> int:
    """Pytest comes last, so that its closing line is the last line of all when everything is right."""
    steps = {
        "ruff check": ("-m", "ruff", "check", "."),
        "ruff format": ("-m", "ruff", "format", "--check", "."),
        "mypy": ("-m", "mypy"),
        "import contracts": ("-c", "from importlinter.cli import lint_imports_command as run; run()"),
        "pytest": ("-m", "pytest", *pytest_arguments),
    }
    failed = [name for name, arguments in steps.items() if not _passes(name, arguments)]
    if failed:
        print(f"unspool test: failed: {', '.join(failed)}", file=sys.stderr, flush=True)
        return 1
    return 0


def _passes(name: str, arguments: Sequence[str]) -> bool:
    print(f"== {name}", flush=True)
    # Tests find the checkout by pytest's settings, and must see no settings of the person who runs them.
    environ = {key: value for key, value in os.environ.items() if not key.startswith("UNSPOOL_")}
    return (
        subprocess.run([sys.executable, *arguments], cwd=CHECKOUT, env=environ, check=False).returncode == 0
    )
