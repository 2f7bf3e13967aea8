"""What a log line may say, and in what form."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
FAILING = """
import asyncio, logging
from shared.domain.errors import LogUnavailable, ProviderRefused
from shared.logging import bind, configure, logger
from shared.settings import Settings

configure(Settings(log_format={form!r}), "test")
log = logger("test")

def fail(content):
    key = "MARK" + "ER-KEY"
    try:
        raise ProviderRefused("he said " + content)
    except ProviderRefused as error:
        raise ExceptionGroup("MARK" + "ER", [ValueError(content), LogUnavailable("our own words")]) from error

bind(answer="0190_a1", attempt=2)
try:
    fail("MARK" + "ER-TEXT")
except* Exception:
    log.exception("failed")
    logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
logging.getLogger("asyncio").error("Task exception was never retrieved\\nfuture: " + "MARK" + "ER")
logging.getLogger("noisy").info("not shown")
"""


def logged(form: str) -> str:
    script = FAILING.format(form=form)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("form", ["json", "console"])
def test_of_an_exception_frames_and_class_are_told_and_only_our_own_words(form: str) -> None:
    text = logged(form)
    assert "MARKER" not in text
    for told in ("in fail", "ProviderRefused", "builtins.ValueError", "LogUnavailable: our own words"):
        assert told in text


def test_lines_of_other_peoples_loggers_are_json_too_and_have_the_tasks_fields() -> None:
    lines = [json.loads(line) for line in logged("json").splitlines()]
    assert [line["event"] for line in lines] == [
        "failed",
        "Exception in ASGI application",
        "Task exception was never retrieved",
    ]
    for line in lines:
        assert (line["service"], line["level"]) == ("test", "error")
        assert (line["chat"], line["answer"], line["attempt"]) == ("0190", "0190_a1", 2)
