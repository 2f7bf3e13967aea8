"""Events of one log as those of another: other sequences, another owner, perhaps another id. Pure."""

from typing import Any, TypeVar

from msgspec import structs

from shared.domain.events import AnswerEvent, AnswerRequested, Fact, GenerationStarted, MessageRequested
from shared.domain.subjects import ChatId, Sequence

F = TypeVar("F", bound=Fact)
_IDS = ("chat", "message", "answer", "parent")


class Rewriting:
    """Facts are to be given in their order, and `stored` told of each: later ones refer to it."""

    def __init__(self, old: ChatId, new: ChatId, owner: str) -> None:
        self._old = old
        self._new = new
        self._owner = owner
        self._sequences: dict[Sequence, Sequence] = {}

    def stored(self, old: Sequence, new: Sequence) -> None:
        self._sequences[old] = new

    def fact(self, fact: F) -> F:
        changes: dict[str, Any] = {"owner": self._owner, "id": self._id(fact.id)}
        for name in _IDS:
            if (id_ := getattr(fact, name, None)) is not None:
                changes[name] = self._id(id_)
        if isinstance(fact, MessageRequested | AnswerRequested):
            changes["imported"] = True
            changes["context"] = tuple(self._sequences[sequence] for sequence in fact.context)
        return structs.replace(fact, **changes)

    def event(self, event: AnswerEvent, request: Sequence) -> AnswerEvent:
        """`request`: the new sequence of the answer's own."""
        return structs.replace(event, request=request) if isinstance(event, GenerationStarted) else event

    def _id(self, id_: str) -> str:
        """Also one that does not begin with its chat's: the log takes the same id twice for a repetition."""
        if id_.startswith(self._old):
            return self._new + id_.removeprefix(self._old)
        return id_ if self._new == self._old else f"{self._new}.{id_}"
