"""Merges the fragments of streamed tool calls. Pure; imports nothing of ours, so that the client can use it too."""

from collections.abc import Iterable, Iterator
from typing import Protocol


class Fragment(Protocol):
    """A piece of a tool call. Pieces of the same `index` belong together, in order."""

    @property
    def index(self) -> int:
        """The number of the call in its answer."""

    @property
    def id(self) -> str:
        """The call's id, in one of its fragments."""

    @property
    def name(self) -> str:
        """The function's name, in one of its fragments."""

    @property
    def arguments(self) -> str:
        """A piece of the arguments' JSON."""


def merge_fragments(fragments: Iterable[Fragment]) -> Iterator[tuple[int, str, str, str]]:
    """Yields index, id, name and arguments of each whole call, in order of index.

    The first id and the first name that are not empty count. Its cost is linear in the size of the arguments.
    """
    calls: dict[int, list[Fragment]] = {}
    for fragment in fragments:
        calls.setdefault(fragment.index, []).append(fragment)
    for index in sorted(calls):
        parts = calls[index]
        id_ = next((part.id for part in parts if part.id), "")
        name = next((part.name for part in parts if part.name), "")
        yield index, id_, name, "".join(part.arguments for part in parts)
