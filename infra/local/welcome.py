"""The lines that `unspool up` prints when everything runs: where it is, and commands to paste."""

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from msgspec import Struct

from infra.local.running import RunningProcess
from infra.terminal.program import suggest

QUESTION = "What is an event log, and what is it good for?"
SLOW_DEMO = "demo/300x200ms"
"""The demo at a pace at which a person can watch an answer, and kill what generates it."""


class Welcome(Struct, frozen=True, kw_only=True):
    """Everything that the lines depend on. `chat`: the id of the chat that the command creates."""

    url: str
    chat: UUID
    models: Sequence[dict[str, Any]]
    processes: Sequence[RunningProcess]
    data: Path | None = None
    """The data directory, if it is not the default one."""
    default_model: str = ""
    with_key: bool = False


def describe_try_out(welcome: Welcome) -> Iterator[tuple[str, str]]:
    """Yields each line and its style."""
    yield "Ask a question from another terminal:", "bold"
    yield example_call(welcome), ""
    if kills := list(_kill_lines(welcome.processes)):
        yield "", ""
        yield "Kill any part while the answer streams. It is started again, and the answer continues:", "bold"
        for line in kills:
            yield line, ""
    yield "", ""
    yield "See what runs (after a kill, with the new pids), and talk in a terminal:", "bold"
    yield suggest("status", welcome.data), ""
    yield suggest("chat", welcome.data), ""


def example_call(welcome: Welcome) -> str:
    """Returns a command that creates a chat and streams an answer. It can be repeated in the same chat."""
    headers = "-H content-type:application/json"
    if welcome.with_key:
        headers += ' -H "authorization: Bearer $UNSPOOL_API_KEY"'
    is_demo = bool(welcome.models) and welcome.models[0].get("kind") == "demo"
    model = f',"model":"{SLOW_DEMO}"' if is_demo and not welcome.default_model else ""
    content = shlex.quote(f'{{"content":"{QUESTION}"{model}}}')
    chats = f"{welcome.url}/v1/chats"
    return (
        f"""curl -so /dev/null {chats} {headers} -d '{{"id":"{welcome.chat}"}}' && """
        f"curl -N {chats}/{welcome.chat}/messages {headers} -H accept:text/event-stream -d {content}"
    )


def _kill_lines(processes: Iterable[RunningProcess]) -> Iterator[str]:
    for process in processes:
        if process.pid is not None:
            yield f"kill -9 {process.pid:<8} # {process.name}"
