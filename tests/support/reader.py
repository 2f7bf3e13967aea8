"""A reader of answer streams that follows the contract only, for assertions about the server."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import httpx

from tests.support.system import Client


class Reader:
    """The text, cursor and indexes of one client. Asserts that no index is missing or repeated."""

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.cursor: str | None = None
        self.last_index = 0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.done: dict[str, Any] | None = None
        self.retry: int | None = None
        self._fields: dict[str, str] = {}

    def line(self, line: str) -> None:
        if line:
            name, _, value = line.partition(": ")
            self._fields[name] = value
            return
        fields, self._fields = self._fields, {}
        if "retry" in fields:
            self.retry = int(fields["retry"])
        if "event" in fields:
            self._apply(fields["event"], json.loads(fields["data"]), fields.get("id"))

    def _apply(self, event: str, data: dict[str, Any], id_: str | None) -> None:
        assert self.done is None, "nothing comes after done"
        self.events.append((event, data))
        match event:
            case "token":
                assert id_ is not None
                index = int(id_.partition(".")[2])
                assert index == self.last_index + 1, f"index {index} after {self.last_index}"
                self.last_index = index
                self.text += data.get("text", "")
                self.reasoning += data.get("reasoning", "")
            case "reset":
                self.text = self.reasoning = ""
            case "snapshot":
                self.text, self.reasoning, self.last_index = data["text"], data["reasoning"], data["index"]
            case "done":
                assert data["last_index"] == self.last_index
                self.done = data
        self.cursor = self.cursor if id_ is None else id_

    async def read(
        self, client: Client, answer: str, until: Callable[["Reader"], bool] | None = None
    ) -> "Reader":
        """Reads from its cursor until `until` returns True or the stream ends.

        After a broken stream it can be called again.
        """
        lines = client.lines(answer, self.cursor)
        self._fields = {}
        with contextlib.suppress(httpx.TransportError):
            async with contextlib.aclosing(lines):  # type: ignore[type-var] # it is a generator
                async for line in lines:
                    self.line(line)
                    if until is not None and until(self):
                        break
        return self


def at_index(index: int) -> Callable[[Reader], bool]:
    return lambda reader: reader.last_index >= index
