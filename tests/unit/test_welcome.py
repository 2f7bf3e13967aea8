"""The commands that `unspool up` prints are ready to paste, at a pace that a person can follow."""

import json
import shlex
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec import structs

from infra.local.running import RunningProcess
from infra.local.welcome import SLOW_DEMO, Welcome, describe_try_out, example_call
from infra.terminal.program import VARIABLE
from services.generator.providers import demo

WELCOME = Welcome(
    url="http://127.0.0.1:8000",
    chat=UUID(int=1, version=4),
    models=[{"id": "demo/200x20ms", "kind": "demo"}],
    processes=[RunningProcess("API 1", 11), RunningProcess("generator 1", 12), RunningProcess("nats", None)],
)


def asked(**changes: Any) -> dict[str, str]:
    """What the second call of the command sends."""
    words = shlex.split(example_call(structs.replace(WELCOME, **changes)))
    assert "&&" in words
    body: dict[str, str] = json.loads(words[-1])
    return body


def test_the_demo_is_asked_at_a_pace_that_a_person_can_watch() -> None:
    assert asked()["model"] == SLOW_DEMO
    assert SLOW_DEMO.removeprefix("demo/") in demo.LISTED


def test_a_model_of_ones_own_is_asked_as_it_is() -> None:
    assert "model" not in asked(models=[{"id": "openai/gpt", "kind": "openai"}])
    assert "model" not in asked(default_model="demo/20x20ms")
    assert "model" not in asked(models=[])


def test_each_running_process_has_a_line_that_kills_it() -> None:
    lines = [line for line, _ in describe_try_out(WELCOME)]
    kills = [shlex.split(line, comments=True) for line in lines if line.startswith("kill")]
    assert kills == [["kill", "-9", "11"], ["kill", "-9", "12"]]


def test_the_commands_that_are_suggested_can_be_pasted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    lines = [line for line, _ in describe_try_out(WELCOME)]
    assert lines[-2:] == ["unspool status", "unspool chat"]
    monkeypatch.setenv(VARIABLE, "./my folder/unspool")
    lines = [line for line, _ in describe_try_out(structs.replace(WELCOME, data=Path("/data here")))]
    assert shlex.split(lines[-1]) == ["./my folder/unspool", "chat", "--data", "/data here"]


def test_the_api_key_is_taken_from_the_environment() -> None:
    assert "Bearer $UNSPOOL_API_KEY" in example_call(structs.replace(WELCOME, with_key=True))
    assert "authorization" not in example_call(WELCOME)
