"""The input history of `unspool chat`: what a person typed, in a file that only this person can read."""

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import platformdirs
from prompt_toolkit.history import History

ENTRIES_MAX = 1000
"""Limit of messages in the file. The oldest are dropped at the start of a session."""
ENTRY_MAX_CHARS = 10_000
"""A longer message is kept for the session only."""


def default_path() -> Path:
    """Returns the file in the user's directory for state."""
    return platformdirs.user_state_path("unspool", appauthor=False) / "chat-history"


class ChatHistory(History):
    """Messages for the arrow keys. One session owns it; several sessions may append to the same file.

    A file that cannot be read or written is no reason to end a conversation: then the history lasts for the session.
    """

    def __init__(self, path: Path | None) -> None:
        """Takes the path of the file; None keeps the history in memory."""
        super().__init__()
        self._path = path
        self._recalled: list[str] = []
        self._recalling = False

    def recall(self, message: str) -> None:
        """Adds a message that was not typed here, such as one of an opened chat. It does not go to the file."""
        self._recalling = True
        try:
            self.append_string(message)
        finally:
            self._recalling = False

    def load_history_strings(self) -> Iterable[str]:
        """Returns all messages, the newest first, and shortens a file that is too long."""
        stored = self._read()
        if len(stored) > ENTRIES_MAX:
            stored = stored[-ENTRIES_MAX:]
            self._rewrite(stored)
        return reversed([*stored, *self._recalled])

    def store_string(self, string: str) -> None:
        """Appends a message to the file."""
        if self._recalling or self._path is None:
            self._recalled.append(string)
        elif len(string) <= ENTRY_MAX_CHARS:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _write(self._path, [string], os.O_APPEND)

    def _read(self) -> list[str]:
        if self._path is None:
            return []
        try:
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return []
        return [message for line in lines if (message := _decode(line))]

    def _rewrite(self, messages: list[str]) -> None:
        if self._path is not None:
            new = self._path.with_suffix(f".{os.getpid()}")
            with contextlib.suppress(OSError):
                _write(new, messages, os.O_TRUNC)
                new.replace(self._path)


def _write(path: Path, messages: list[str], flag: int) -> None:
    lines = "".join(f"{json.dumps(message)}\n" for message in messages)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | flag, 0o600), "wb") as file:
        file.write(lines.encode())


def _decode(line: str) -> str:
    """Returns the message of a line, or an empty text if a crash left half of it."""
    try:
        found = json.loads(line)
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""
