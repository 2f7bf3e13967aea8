"""What `unspool status` and `unspool chats` say, and how a command finds the API of a running `up`."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from unspool_client import Chat

from infra.inspect.status_lines import describe
from infra.inspect.status_report import Api, Model, Projector, Queue, Report, Server
from infra.local.data_directory import DataDirectory
from infra.local.processes import SavedProcess
from infra.local.running import NothingRuns, RunningProcess, find_api_urls, find_running
from infra.terminal.chats import describe as describe_chats
from infra.terminal.durations import describe_duration
from tests.support.servers import free_port

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEALTHY = Report(
    data="/data",
    processes=(
        RunningProcess("NATS", 11, "127.0.0.1:20001", 200.0),
        RunningProcess("generator 1", 12, "", 3.0),
    ),
    apis=(Api("http://127.0.0.1:8000", "ok", {"log": "ok"}),),
    nats=Server(),
    postgres=Server(),
    projector=Projector(position=7, last=9, lag=2),
    queue=Queue(pending=0, ack_pending=3, pulls=1),
    models=(Model("demo/200x20ms", "demo", "demo"),),
)
SHOWN = """\
Unspool is healthy
  NATS          127.0.0.1:20001   pid 11        up 3 min
  generator 1                     pid 12        up 3 s
  API           http://127.0.0.1:8000 is ok
  NATS          answers
  Postgres      answers
  projector     at sequence 7 of 9, lag 2
  queue         0 pending, 3 being answered
  models        demo/200x20ms; providers: demo (demo)"""
SLEEP = (sys.executable, "-c", "import time; time.sleep(600)")


def changed(**changes: Any) -> Report:
    return msgspec.structs.replace(HEALTHY, **changes)


def test_a_healthy_system_is_shown_part_by_part() -> None:
    assert HEALTHY.healthy
    assert describe(HEALTHY) == SHOWN


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (changed(processes=(RunningProcess("api-1", None),)), "api-1 does not run"),
        (changed(nats=Server("no NATS")), "NATS cannot be reached: no NATS"),
        (changed(postgres=Server("refused")), "Postgres cannot be reached: refused"),
        (
            changed(apis=(Api("http://x", "degraded", {"log": "ok", "history": "unavailable"}),)),
            "http://x is degraded: history unavailable",
        ),
        (changed(apis=(Api("http://x", "unreachable"),)), "http://x is unreachable"),
        (changed(models=()), "no generator has announced a model"),
        (changed(models=(), models_error="set the key"), "set the key"),
        (
            changed(queue=Queue(pending=4, ack_pending=0, pulls=0)),
            "4 requests wait, and no generator takes one",
        ),
    ],
)
def test_what_does_not_work_is_named_first(report: Report, problem: str) -> None:
    assert report.problems == (problem,)
    assert describe(report).splitlines()[:2] == ["Unspool is not healthy:", f"  {problem}"]


def test_where_nothing_runs_is_said_how_to_start() -> None:
    nothing = Report(data="/data")
    assert not nothing.healthy
    assert describe(nothing) == "Nothing runs on /data. Start it with: unspool up"


def test_a_model_cannot_command_the_terminal() -> None:
    assert "\x1b" not in describe(changed(models=(Model("demo/\x1b[2J"),)))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (59.9, "59 s"), (60, "1 min"), (7300, "2 h"), (200_000, "2 d")]
)
def test_a_duration_has_one_unit(seconds: float, shown: str) -> None:
    assert describe_duration(seconds) == shown


def test_a_chat_is_one_line_whatever_its_title() -> None:
    chats = [
        Chat(id="a", cursor="c1", title="Two\nlines \x1b[2J", updated_at=NOON - timedelta(minutes=5)),
        Chat(id="b", cursor="c1", generating=True),
        Chat(id="c", cursor="c1", archived=True, updated_at=NOON),
    ]
    assert describe_chats(chats, NOON) == [
        "a    5 min  idle        Two lines \N{REPLACEMENT CHARACTER}[2J",
        "b           answering   (no title yet)",
        "c      0 s  archived    (no title yet)",
    ]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = DataDirectory(tmp_path)
    made.make()
    return made


def note(directory: DataDirectory, file: str, name: str, pid: int, argv: tuple[str, ...] = SLEEP) -> None:
    saved = SavedProcess(pid=pid, argv=argv, stop_signal=15, name=name, address="127.0.0.1:8123")
    (directory.run / f"{file}.pid").write_bytes(msgspec.json.encode(saved))


def test_the_api_of_a_running_up_is_found(directory: DataDirectory, sleeper: subprocess.Popen[bytes]) -> None:
    note(directory, "api-1", "API 1", sleeper.pid)
    note(directory, "generator-1", "generator 1", sleeper.pid)
    assert find_api_urls(directory, default_port=None) == ("http://127.0.0.1:8123",)
    assert [process.name for process in find_running(directory)] == ["API 1", "generator 1"]


def test_a_process_that_died_is_shown_as_such(
    directory: DataDirectory, sleeper: subprocess.Popen[bytes]
) -> None:
    note(directory, "generator-1", "generator 1", sleeper.pid)
    note(directory, "api-1", "API 1", os.getpid())  # another process has its pid now
    assert [(process.name, process.pid) for process in find_running(directory)] == [
        ("api-1", None),
        ("generator 1", sleeper.pid),
    ]


def test_without_an_up_one_line_says_what_to_do(directory: DataDirectory) -> None:
    (directory.run / "api-1.pid").write_text(json.dumps({"pid": "no"}))
    assert find_running(directory) == []
    with pytest.raises(NothingRuns, match="start one, or name an API process with --url"):
        find_api_urls(directory, default_port=free_port())


def test_without_an_up_an_api_on_the_configured_port_is_used(directory: DataDirectory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert find_api_urls(directory, default_port=port) == (f"http://127.0.0.1:{port}",)
