"""The input history of `unspool chat` lasts, is private and bounded, and never ends a conversation."""

import asyncio
from pathlib import Path

import pytest

from infra.terminal.history import ENTRIES_MAX, ENTRY_MAX_CHARS, ChatHistory


async def load(path: Path | None) -> list[str]:
    """The messages of a new session, oldest first."""
    history = ChatHistory(path)
    assert [each async for each in history.load()] == history.get_strings()[::-1]
    return history.get_strings()


def stored(path: Path, *messages: str) -> None:
    history = ChatHistory(path)
    for message in messages:
        history.append_string(message)


def names_in(directory: Path) -> list[str]:
    return [file.name for file in directory.iterdir()]


async def test_what_was_typed_is_there_in_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "state" / "chat-history"
    stored(path, "one", "two\nlines", "“three”")
    assert await load(path) == ["one", "two\nlines", "“three”"]


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "chat-history"
    stored(path, "mine")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    stored(path, *map(str, range(ENTRIES_MAX)))
    await load(path)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_the_file_keeps_the_newest_within_its_bounds(tmp_path: Path) -> None:
    stored(path := tmp_path / "history", *map(str, range(ENTRIES_MAX + 5)), "x" * (ENTRY_MAX_CHARS + 1))
    assert await load(path) == [str(number) for number in range(5, ENTRIES_MAX + 5)]
    assert len(path.read_text().splitlines()) == ENTRIES_MAX
    assert names_in(tmp_path) == ["history"]


async def test_messages_of_an_opened_chat_are_at_hand_and_not_in_the_file(tmp_path: Path) -> None:
    history = ChatHistory(path := tmp_path / "history")
    history.recall("before the first prompt")
    async for _ in history.load():
        pass
    history.recall("afterwards")
    history.append_string("typed")
    assert history.get_strings() == ["before the first prompt", "afterwards", "typed"]
    assert await load(path) == ["typed"]


async def test_without_a_file_the_history_lasts_for_the_session() -> None:
    history = ChatHistory(None)
    history.append_string("typed")
    assert [each async for each in history.load()] == ["typed"]
    assert await load(None) == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"half', b"17\n{}\n", b""])
async def test_a_damaged_file_costs_no_conversation(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "history").write_bytes(content)
    assert await load(path) == []


async def test_a_directory_that_cannot_be_written_costs_no_conversation(tmp_path: Path) -> None:
    (blocked := tmp_path / "file").touch()
    await asyncio.to_thread(stored, blocked / "history", "typed")
    assert await load(blocked / "history") == []
