"""The documents of the server. Unknown fields of later versions are ignored."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from unspool_client.events import Problem, ToolCallFragment, Usage

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A node of a chat's tree: a user's message, with `content`, or an answer, with `text` and `status`."""

    id: str
    role: str
    parent_id: str | None = None
    created_at: datetime | None = None
    metadata: Json = field(default_factory=dict)
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
    """The cursor of an answer in generation: its stream continues after `text`."""

    @property
    def said(self) -> str:
        """The message's text, of the user or of the model."""
        return self.text or "\n".join(str(part["text"]) for part in self.content if "text" in part)

    @property
    def running(self) -> bool:
        return self.status in {"queued", "generating"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """A chat. `messages` is None in lists, and in the answer to a change."""

    id: str
    cursor: str
    title: str | None = None
    model: str | None = None
    system: str | None = None
    metadata: Json = field(default_factory=dict)
    archived: bool = False
    generating: bool = False
    created_at: datetime | None = None
    updated_at: datetime | None = None
    messages: tuple[Message, ...] | None = None

    def branch(self) -> list[Message]:
        """Returns the messages from the root to the newest one."""
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


@dataclass(frozen=True, slots=True)
class ChatPage:
    """A page of chats. `next` is the `before` of the next page; None on the last page."""

    data: tuple[Chat, ...]
    next: str | None = None
    cursor: str = ""
    """The cursor of this list: the feed continues after it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The accepted request: it is stored and will be answered, even if processes fail."""

    message: str
    answer: str
    stream: str
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer in its current state, in generation or ended."""

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


@dataclass(frozen=True, slots=True)
class Model:
    """A model. `id` is the `model` of a chat or a message."""

    id: str
    owned_by: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Models:
    """The models of all providers."""

    data: tuple[Model, ...]
