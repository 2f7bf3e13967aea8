"""The content of an answer, folded from the events of its stream. Pure."""

from typing import Self, assert_never

from unspool_client.events import Done, Reset, Snapshot, Started, StreamEvent, Token, ToolCallFragment
from unspool_client.tool_calls import merge_fragments


class Transcript:
    """Folds the events of one answer over any number of connections."""

    def __init__(self) -> None:
        self.model = ""
        self.done: Done | None = None
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[ToolCallFragment] = []

    @property
    def text(self) -> str:
        return _joined(self._text)

    @property
    def reasoning(self) -> str:
        return _joined(self._reasoning)

    @property
    def tool_calls(self) -> tuple[ToolCallFragment, ...]:
        """The whole tool calls, in order of index."""
        return tuple(ToolCallFragment(*call) for call in merge_fragments(self._tool_calls))

    def apply(self, event: StreamEvent) -> Self:
        """Applies an event in place. Its cost does not grow with the text."""
        match event:
            case Started():
                self.model = event.model
            case Token():
                self._add(event)
            case Reset():
                self._text, self._reasoning, self._tool_calls = [], [], []
            case Snapshot():
                self._text, self._reasoning = [event.text], [event.reasoning]
                self._tool_calls = list(event.tool_calls)
            case Done():
                self.done = event
            case _:
                assert_never(event)
        return self

    def _add(self, token: Token) -> None:
        if token.text:
            self._text.append(token.text)
        if token.reasoning:
            self._reasoning.append(token.reasoning)
        if token.tool_call is not None:
            self._tool_calls.append(token.tool_call)


def _joined(parts: list[str]) -> str:
    """Joins the parts in place, so that later calls do not join them again."""
    parts[:] = ["".join(parts)]
    return parts[0]
