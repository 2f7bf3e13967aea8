"""Decodes the fragments of OpenAI's tool calls and repairs their indexes. Pure."""

import json
from collections.abc import Iterator

from shared.domain.events import Json, ToolCallFragment


class ToolCalls:
    """Assigns the same index to all fragments of one call, for one answer.

    Some servers omit the index, and some send 0 for all calls. A fragment that names a function, with an id
    that its index does not have yet, begins a new call.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._ours: dict[int, int] = {}

    @property
    def any_seen(self) -> bool:
        return bool(self._ids)

    def decode_fragments(self, found: object) -> Iterator[ToolCallFragment]:
        """Yields the fragments in the value of `tool_calls` of a delta or a message."""
        for call in found if isinstance(found, list) else []:
            if isinstance(call, dict):
                yield self._decode_fragment(call)

    def _decode_fragment(self, call: Json) -> ToolCallFragment:
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        id_, name = _string(call.get("id")), _string(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, dict):  # Ollama sends an object.
            arguments = json.dumps(arguments)
        index = self._assign_index(call.get("index"), id_, name)
        return ToolCallFragment(index=index, id=id_, name=name, arguments=_string(arguments))

    def _assign_index(self, theirs: object, id_: str, name: str) -> int:
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
