"""The read model's tables in memory, with the statements of `queries.sql` that the projector and the states use.

`tests/integration/test_projection.py` tests the SQL itself against Postgres. These are only the meanings of the
statements, so that the real projector and the real reads can run on them.
"""

from collections.abc import Callable
from typing import Any

Row = dict[str, Any]


class Tables:
    def __init__(self) -> None:
        self.checkpoint: Row | None = None
        self.chats: dict[str, Row] = {}
        self.messages: dict[str, Row] = {}

    def execute(self, name: str, arguments: tuple[Any, ...]) -> str:
        done = _STATEMENTS[name](self, *arguments)
        return f"UPDATE {done}" if name == "advance" else "DONE"

    def fetch(self, name: str, arguments: tuple[Any, ...]) -> list[Row]:
        match name:
            case "checkpoint" | "reached":
                return [self.checkpoint.copy()] if self.checkpoint else []
            case "version":
                return [{"version": self.checkpoint["version"]}] if self.checkpoint else []
            case "chat":
                return [row.copy() for row in self.chats.values() if row["id"] == arguments[0]]
            case "orphans":
                return self._orphans(*arguments)
            case "nodes":
                rows = [row for row in self.messages.values() if row["chat"] == arguments[0]]
                return [row.copy() for row in sorted(rows, key=_in_order)]
        raise AssertionError(name)

    def _orphans(self, settled: int, most: int) -> list[Row]:
        rows = [row for row in self.messages.values() if row["status"] == "running"]
        old = sorted((row for row in rows if row["sequence"] <= settled), key=_in_order)
        return [row | {"owner": self.chats[row["chat"]]["owner"]} for row in old[:most]]

    def snapshot(self) -> "Tables":
        """Copies the tables. Rows contain no mutable values."""
        found = Tables()
        found.checkpoint = self.checkpoint
        found.chats = {id_: row.copy() for id_, row in self.chats.items()}
        found.messages = {id_: row.copy() for id_, row in self.messages.items()}
        return found

    def may_advance(self, old: int, created: str) -> bool:
        row = self.checkpoint
        return row is not None and row["position"] == old and row["created"] == created


def _in_order(row: Row) -> tuple[int, bool]:
    return row["sequence"], row["role"] != "user"


def _begin(tables: Tables, created: str, version: int) -> None:
    tables.checkpoint = tables.checkpoint or {
        "position": 0,
        "created": created,
        "version": version,
        "mark": "",
    }


def _mark(tables: Tables, mark: str) -> None:
    if tables.checkpoint is not None:
        tables.checkpoint = tables.checkpoint | {"mark": mark}


def _advance(tables: Tables, old: int, new: int, created: str, mark: str) -> int:
    if tables.checkpoint is None or not tables.may_advance(old, created):
        return 0
    tables.checkpoint = tables.checkpoint | {"position": new, "mark": mark}
    return 1


def _chat_created(tables: Tables, id_: str, owner: str, title: str | None, *rest: Any) -> None:
    model, system, metadata, hash_, sequence, _time = rest
    row = {"id": id_, "owner": owner, "title": title, "titled": title is not None, "model": model}
    row |= {"system": system, "metadata": metadata, "archived": False, "hash": hash_}
    tables.chats.setdefault(id_, row | {"created": sequence, "sequence": sequence})


def _message_requested(tables: Tables, id_: str, chat: str, parent: str | None, *rest: Any) -> None:
    hash_, imported, sequence = rest[3], rest[4], rest[5]
    row = {"id": id_, "chat": chat, "parent": parent, "role": "user", "hash": hash_, "model": None}
    row |= {"status": "completed", "cancelling": False, "imported": imported, "text": rest[1]}
    _insert_message(tables, row | {"sequence": sequence, "ended": None})


def _answer_requested(tables: Tables, id_: str, chat: str, message: str, model: str, *rest: Any) -> None:
    hash_, imported, sequence = rest[2], rest[3], rest[4]
    row = {"id": id_, "chat": chat, "parent": message, "role": "assistant", "hash": hash_, "model": model}
    row |= {"status": "running", "cancelling": False, "imported": imported, "text": ""}
    _insert_message(tables, row | {"sequence": sequence, "ended": None, "last_index": 0})


def _insert_message(tables: Tables, row: Row) -> None:
    if row["chat"] in tables.chats:
        tables.messages.setdefault(row["id"], row)


def _answer_ended(tables: Tables, id_: str, status: str, text: str, *rest: Any) -> None:
    row = tables.messages.get(id_)
    if row is not None and row["ended"] is None:
        _reasoning, _tools, model = rest[:3]
        last_index, ended = rest[-3], rest[-2]
        row |= {"status": status, "text": text, "model": model, "last_index": last_index, "ended": ended}


def _chat_deleted(tables: Tables, chat: str) -> None:
    tables.chats.pop(chat, None)
    for id_ in [id_ for id_, row in tables.messages.items() if row["chat"] == chat]:
        del tables.messages[id_]


def _set(column: str, when: Callable[[Row], bool] = lambda _row: True) -> Callable[..., None]:
    def change(tables: Tables, chat: str, value: Any) -> None:
        if (row := tables.chats.get(chat)) and when(row):
            row[column] = value

    return change


def _touch(tables: Tables, chat: str, sequence: int, _active: int | None, _active_at: Any) -> None:
    if (row := tables.chats.get(chat)) and row["sequence"] < sequence:
        row["sequence"] = sequence


def _renamed(tables: Tables, chat: str, title: str) -> None:
    if row := tables.chats.get(chat):
        row |= {"title": title, "titled": True}


def _cancel(tables: Tables, answer: str) -> None:
    if row := tables.messages.get(answer):
        row["cancelling"] = True


_STATEMENTS: dict[str, Callable[..., Any]] = {
    "begin": _begin,
    "advance": _advance,
    "mark": _mark,
    "chat-created": _chat_created,
    "message-requested": _message_requested,
    "answer-requested": _answer_requested,
    "answer-ended": _answer_ended,
    "chat-deleted": _chat_deleted,
    "cancel-requested": _cancel,
    "chat-renamed": _renamed,
    "title-generated": _set("title", lambda row: not row["titled"]),
    "chat-archived": _set("archived"),
    "chat-metadata-changed": _set("metadata"),
    "touch": _touch,
}
