"""Records of the clients: their requests and the events they received, for the checker."""

from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

CallKind = Literal["POST", "GET", "stream"]
RIGHT_WITHIN_SECONDS = 1.5
"""A call that takes longer counts as failed."""


class Call(Struct, frozen=True):
    """One try of one call. `right`: the response satisfies the contract and arrived in time."""

    kind: CallKind
    began: float
    seconds: float
    right: bool


class Asked(Struct, frozen=True):
    """A posted message and the answer that its `202` named."""

    chat: str
    answer: str
    question: str
    model: str
    regenerated: bool = False


@dataclass
class Seen:
    """The state of one reader of one answer."""

    answer: str
    text: str = ""
    last_index: int = 0
    status: str = ""
    done_cursor: str = ""
    tokens: int = 0
    connections: int = 0
    resumes: int = 0
    snapshots: int = 0
    resets: int = 0
    longest_silence_seconds: float = 0.0
    gone: bool = False
    """True if the chat was deleted while it read."""


class Finding(Struct, frozen=True):
    """A violation."""

    kind: Literal["lost", "doubled", "wrong"]
    what: str


@dataclass
class Witness:
    """The records of all clients of a run, which they share."""

    asked: dict[str, Asked] = field(default_factory=dict)
    """Requests that received a `202`, by answer."""
    attempted: set[str] = field(default_factory=set)
    """Answers whose ids were sent, accepted or not."""
    deleted: set[str] = field(default_factory=set)
    """Chats whose deletion was requested."""
    gone: set[str] = field(default_factory=set)
    """Chats whose deletion was confirmed with `204`."""
    seen: list[Seen] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    operations: list[Call] = field(default_factory=list)
    """Calls including all their retries on all replicas."""
    findings: list[Finding] = field(default_factory=list)

    def add_finding(self, kind: Literal["lost", "doubled", "wrong"], what: str) -> None:
        self.findings.append(Finding(kind, what))
