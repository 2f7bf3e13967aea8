"""Tool calls in OpenAI's fragments, numbered as they should have been. Pure."""

import json
from collections.abc import Iterator

from shared.domain.events import Json, ToolCallFragment


class ToolCalls:
    """Fragments of one call bear the same index, whatever the server did with it.

    Some servers leave the index out, and some give 0 to all calls. A fragment that names a function, with
    an id that its index does not have yet, begins a new call.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._ours: dict[int, int] = {}

    @property
    def seen(self) -> bool:
        return bool(self._ids)

    def fragments(self, found: object) -> Iterator[ToolCallFragment]:
        """From the value of `tool_calls` in a delta or a message."""
        for call in found if isinstance(found, list) else []:
            if isinstance(call, dict):
                yield self._fragment(call)

    def _fragment(self, call: Json) -> ToolCallFragment:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        id_, name = _string(call.get("id")), _string(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # whole, as Ollama has it in its own API
            arguments = json.dumps(arguments)
        index = self._index(call.get("index"), id_, name)
        return ToolCallFragment(index=index, id=id_, name=name, arguments=_string(arguments))

    def _index(self, theirs: object, id_: str, name: str) -> int:
        if isinstance(theirs, int):
            ours = self._ours.get(theirs)
            new = ours is None or bool(name and id_ and self._ids[ours] not in {"", id_})
        else:
            ours = len(self._ids) - 1
            new = ours < 0 or bool(name and (not id_ or self._ids[ours] != id_))
        if new or ours is None:
            ours = len(self._ids)
            self._ids.append(id_)
            if isinstance(theirs, int):
                self._ours[theirs] = ours
        self._ids[ours] = self._ids[ours] or id_
        return ours


def _string(found: object) -> str:
    return found if isinstance(found, str) else ""
