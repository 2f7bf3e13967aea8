"""What `unspool up` keeps in its data directory, and what it says when something is missing."""

import contextlib
import json
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import bootstrap
from infra.local import accounts, binaries, log_files
from infra.local.data_directory import DataDirectory
from infra.local.postgres_cluster import configuration
from infra.local.processes import stop_orphans
from infra.local.up import Options
from infra.local.up import main as up
from shared.domain.errors import ConfigurationError
from shared.settings import Settings
from tests.support.servers import free_port

SLEEP = [sys.executable, "-c", "print(flush=True); import time; time.sleep(60)"]
"""Prints a line when it runs: before that, its arguments may not be readable yet."""


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(binaries, "DEBIAN_POSTGRES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("nothing_installed")
def test_a_missing_nats_is_one_line_that_says_what_to_do(data_directory: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^nats-server not found.*UNSPOOL_NATS_URL.*$"):
        up(Settings(port=free_port()), Options(data=data_directory))


@pytest.mark.usefixtures("nothing_installed")
def test_a_missing_postgres_is_one_line_that_says_what_to_do() -> None:
    with pytest.raises(ConfigurationError, match=r"^Postgres not found.*UNSPOOL_POSTGRES_URL.*$"):
        binaries.postgres()


@pytest.mark.usefixtures("nothing_installed")
def test_without_wheels_the_systems_own_servers_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "bin"
    theirs.mkdir()
    for name in ("nats-server", "postgres", "initdb"):
        (theirs / name).write_text("#!/bin/sh\n")
        (theirs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(theirs))
    assert binaries.nats_server() == theirs / "nats-server"
    assert binaries.postgres().directory == theirs.resolve()


def test_a_secret_is_the_same_at_every_call_and_readable_for_its_owner_alone(tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "data")
    data.make()
    assert data.secret("nats") == data.secret("nats") != data.secret("postgres")
    assert stat.S_IMODE(data.secret_file("nats").stat().st_mode) == 0o600


def test_a_port_is_remembered_from_run_to_run(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.make()
    assert first.port("nats") == second.port("nats") != second.port("postgres")


def test_a_data_directory_has_one_holder_at_a_time(tmp_path: Path) -> None:
    first, second = DataDirectory(tmp_path), DataDirectory(tmp_path)
    first.hold()
    with pytest.raises(ConfigurationError, match=rf"^another unspool \(process \d+\) is using {tmp_path}"):
        second.hold()
    first.release()
    second.hold()
    second.release()


def test_a_data_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=r"^cannot write to .*--data$"):
        DataDirectory(tmp_path / "file" / "data").hold()


def test_a_log_that_has_grown_is_moved_aside_while_it_is_written_to(tmp_path: Path) -> None:
    log = tmp_path / "api-1.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"a" * 100)
        log_files.truncate_logs(tmp_path, bytes_max=50)
        writer.write(b"b")
    assert log.read_bytes() == b"b"
    assert (tmp_path / "api-1.log.1").read_bytes() == b"a" * 100


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    with contextlib.ExitStack() as stack:

        def start() -> subprocess.Popen[bytes]:
            process = stack.enter_context(subprocess.Popen(SLEEP, stdout=subprocess.PIPE))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == b"\n"
            return process

        yield start


async def test_an_orphan_is_stopped_and_a_stranger_with_its_pid_is_not(
    tmp_path: Path, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    orphan, stranger = sleeper(), sleeper()
    for name, pid, argv in (("orphan", orphan.pid, SLEEP), ("stranger", stranger.pid, [*SLEEP, "1"])):
        noted = {"pid": pid, "argv": argv, "stop_signal": int(signal.SIGTERM)}
        (tmp_path / f"{name}.pid").write_text(json.dumps(noted))
    assert await stop_orphans(tmp_path) == ["orphan"]
    assert stranger.poll() is None


def test_a_path_with_a_quote_in_it_does_not_end_a_setting_of_postgres() -> None:
    assert "hba_file = '/a''b'" in configuration(5432, Path("/a'b"), durable=True)


def test_without_wheels_for_this_platform_all_else_is_installed() -> None:
    requirements = (
        b"click==8.0 \\\n    --hash=sha256:1\nembedded-postgres==18 \\\n    --hash=sha256:2\nrich==15\n"
    )
    assert bootstrap.without_embedded(requirements) == b"click==8.0 \\\n    --hash=sha256:1\nrich==15\n"


def test_what_is_closed_to_an_account_is_named(data_directory: Path) -> None:
    account = accounts.Account("nobody", 65_534, 65_534)
    if not accounts.can_run(account, "true"):
        pytest.skip("only root can become another user")
    closed = data_directory / "closed"
    closed.mkdir(mode=0o700)
    assert accounts.cannot_enter(account, data_directory) is None
    assert accounts.cannot_enter(account, closed / "below") == closed


def test_help_needs_no_service() -> None:
    """The services' own dependencies take most of a second to import."""
    code = "import sys, infra.cli; raise SystemExit('fastapi' in sys.modules or 'asyncpg' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode
        == 0
    )
