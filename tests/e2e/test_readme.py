"""The README's tour, run as it stands: every `sh` block, in one shell, against `./unspool up`."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import temporary_data
from tests.support.system import ROOT, free_port

UP_SECONDS = 100


def blocks(language: str = "sh") -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )


@pytest.fixture(scope="module")
def up() -> Iterator[int]:
    """The port of a running `./unspool up`."""
    with temporary_data() as data_directory:
        yield from _run_up(data_directory)


def _run_up(data_directory: Path) -> Iterator[int]:
    port = free_port()
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("UNSPOOL_", "OPENAI_"))
    }
    command = [str(ROOT / "unspool"), "up", "--port", str(port), "--data", str(data_directory)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env=environ | {"OLLAMA_HOST": "127.0.0.1:9"}, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Unspool is ready" in line:
                break
        yield port
        process.terminate()
        process.stdout.read()
        assert process.wait(30) == 0


def test_the_tour_of_the_readme_runs_as_it_stands(up: int, data_directory: Path) -> None:
    steps = [block.replace("127.0.0.1:8000", f"127.0.0.1:{up}") for block in blocks()]
    marked = "\n".join(f"echo '=== {number}'\n{step}" for number, step in enumerate(steps))
    done = subprocess.run(
        ["bash", "-eu", "-c", marked],
        cwd=data_directory,
        capture_output=True,
        text=True,
        timeout=UP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    created, asked, first, second, history = re.split(r"=== \d\n", done.stdout)[1:]
    assert '"generating":false' in created
    assert asked.startswith("the answer is ")
    assert "event: token" in first
    assert "event: token" in second
    assert '"status":"completed"' in second
    chat = json.loads(history)
    assert [message["role"] for message in chat["messages"]] == ["user", "assistant"]
    assert len(chat["messages"][1]["text"].split()) > 50


def test_the_python_of_the_readme_prints_an_answer(up: int) -> None:
    (program,) = blocks("python")
    done = subprocess.run(
        [sys.executable, "-c", program.replace("127.0.0.1:8000", f"127.0.0.1:{up}")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "shared/client")},
        capture_output=True,
        text=True,
        timeout=UP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 100
