"""Rewrites events of one log for another: new sequences, a new owner, and possibly a new chat id. Pure."""

from typing import Any, TypeVar

from msgspec import structs

from shared.domain.events import AnswerEvent, AnswerRequested, Fact, GenerationStarted, MessageRequested
from shared.domain.subjects import ChatId, Sequence

F = TypeVar("F", bound=Fact)
_IDS = ("chat", "message", "answer", "parent")


class Rewriter:
    """Rewrites the events of one chat. Call `rewrite_fact` in order, and `record` after each append: later facts
    refer to the new sequences.
    """

    def __init__(self, old: ChatId, new: ChatId, owner: str) -> None:
        self._old = old
        self._new = new
        self._owner = owner
        self._sequences: dict[Sequence, Sequence] = {}

    def record(self, old: Sequence, new: Sequence) -> None:
        """Records the new sequence of an appended fact."""
        self._sequences[old] = new

    def rewrite_fact(self, fact: F) -> F:
        """Returns the fact with new ids, owner and context. Raises `KeyError` for a context that was not recorded."""
        changes: dict[str, Any] = {"owner": self._owner, "id": self._rewrite_id(fact.id)}
        for name in _IDS:
            if (id_ := getattr(fact, name, None)) is not None:
                changes[name] = self._rewrite_id(id_)
        if isinstance(fact, MessageRequested | AnswerRequested):
            changes["imported"] = True
            changes["context"] = tuple(self._sequences[sequence] for sequence in fact.context)
        return structs.replace(fact, **changes)

    def rewrite_event(self, event: AnswerEvent, request: Sequence) -> AnswerEvent:
        """Returns the event of an answer whose request has the new sequence `request`."""
        return structs.replace(event, request=request) if isinstance(event, GenerationStarted) else event

    def _rewrite_id(self, id_: str) -> str:
        """Returns a new id, also for an id without the chat's prefix: the log drops a repeated id as a duplicate."""
        if id_.startswith(self._old):
            return self._new + id_.removeprefix(self._old)
        return id_ if self._new == self._old else f"{self._new}.{id_}"
