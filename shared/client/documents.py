"""The documents that the server answers with. What a later version adds to them is passed over."""

from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from shared.client.events import Problem, ToolCallFragment, Usage

Json = dict[str, Any]


class Message(Struct, frozen=True, kw_only=True):
    """A node of a chat's tree: a user's message, with `content`, or an answer, with `text` and `status`."""

    id: str
    role: str
    parent_id: str | None = None
    created_at: datetime | None = None
    metadata: Json = {}
    content: tuple[Json, ...] = ()
    status: str = ""
    model: str | None = None
    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallFragment, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    error: Problem | None = None
    cursor: str | None = None
    """Of an answer that is being made: its stream goes on after `text` from here."""

    @property
    def said(self) -> str:
        """What stands in it as text, whoever said it."""
        return self.text or "\n".join(str(part["text"]) for part in self.content if "text" in part)

    @property
    def running(self) -> bool:
        return self.status in {"queued", "generating"}


class Chat(Struct, frozen=True, kw_only=True):
    """`messages` is unset in lists, and in the answer to a change."""

    id: str
    cursor: str
    title: str | None = None
    model: str | None = None
    system: str | None = None
    metadata: Json = {}
    archived: bool = False
    generating: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None
    messages: tuple[Message, ...] | UnsetType = UNSET

    def branch(self) -> list[Message]:
        """From the root to the newest message: what a person would see first."""
        nodes = self.messages or ()
        by_id = {node.id: node for node in nodes}
        found: list[Message] = []
        next_id: str | None = nodes[-1].id if nodes else None
        for _ in nodes:  # no branch is longer
            if next_id is None or next_id not in by_id:
                break
            found.append(by_id[next_id])
            next_id = found[-1].parent_id
        return found[::-1]


class ChatPage(Struct, frozen=True):
    """`next` is the `before` of the next page; None on the last."""

    data: tuple[Chat, ...]
    next: str | None = None


class Accepted(Struct, frozen=True):
    """The question is in the log, and will be answered, whatever dies."""

    message: str
    answer: str
    stream: str
    cursor: str


class Answer(Struct, frozen=True, kw_only=True):
    """An answer as it stands, also while it is being made."""

    id: str
    status: str
    text: str = ""
    reasoning: str = ""
    model: str | None = None
    tool_calls: tuple[ToolCallFragment, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    error: Problem | None = None
    cursor: str | None = None


class Model(Struct, frozen=True):
    """`id` is what a chat or a message takes as its model."""

    id: str
    owned_by: str = ""
    kind: str = ""


class Models(Struct, frozen=True):
    data: tuple[Model, ...]
