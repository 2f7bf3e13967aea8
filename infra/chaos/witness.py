"""What clients did and saw, as they saw it: the evidence against which the checker holds log and database."""

from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

CallKind = Literal["POST", "GET", "stream"]
RIGHT_WITHIN_SECONDS = 1.5
"""A call that takes longer counts as failed, whatever it says then."""


class Call(Struct, frozen=True):
    """One try of one call. `right`: the answer that the contract owes, in time."""

    kind: CallKind
    began: float
    seconds: float
    right: bool


class Asked(Struct, frozen=True):
    """A question that was posted, and the answer that a `202` promised."""

    chat: str
    answer: str
    question: str
    model: str
    regenerated: bool = False


@dataclass
class Seen:
    """What one reader of one answer had at its end."""

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
    """Its chat was deleted while it read."""


class Finding(Struct, frozen=True):
    """Something that must not be."""

    kind: Literal["lost", "doubled", "wrong"]
    what: str


@dataclass
class Witness:
    """Of all clients of a run."""

    asked: dict[str, Asked] = field(default_factory=dict)
    """By answer: all that got a `202`."""
    attempted: set[str] = field(default_factory=set)
    """Answers whose ids were sent, accepted or not."""
    deleted: set[str] = field(default_factory=set)
    """Chats whose deletion was asked for."""
    gone: set[str] = field(default_factory=set)
    """Chats whose deletion was answered with `204`."""
    seen: list[Seen] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    operations: list[Call] = field(default_factory=list)
    """Calls as a client's user sees them: with all tries, on all replicas."""
    findings: list[Finding] = field(default_factory=list)

    def found(self, kind: Literal["lost", "doubled", "wrong"], what: str) -> None:
        self.findings.append(Finding(kind, what))
