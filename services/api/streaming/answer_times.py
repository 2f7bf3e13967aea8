"""How long answers let their readers wait, by the broker's clock at both ends: of request, first token and end.

Every API process follows the whole log, so each of them sees every answer: quantiles and shares over all replicas
are right, counts are to be divided by the number of replicas. The two followers keep no step with each other: the
three times come in any order.
"""

from collections import OrderedDict
from datetime import datetime

from msgspec import Struct

from services.api import metrics
from shared.domain.events import (
    AnswerCompleted,
    AnswerEnded,
    AnswerRequested,
    Fact,
    MessageRequested,
)
from shared.domain.subjects import AnswerId
from shared.log.protocol import Stored

_ANSWERS_MAX = 50_000
_FIRST_INDEX = b'"index":1,'
_HEAD_BYTES = 64
"""A token's type, attempt and index come first, and none of its text."""


class _Times(Struct):
    asked: datetime | None = None
    first: datetime | None = None
    ended: datetime | None = None
    tokens: int = 0


class AnswerTimes:
    """Bounded: the oldest answers are forgotten, and then not counted."""

    def __init__(self) -> None:
        self._running: OrderedDict[AnswerId, _Times] = OrderedDict()

    def fact(self, stored: Stored, fact: Fact | None) -> None:
        """Called by the follower of CHATS, in order."""
        match fact:
            case MessageRequested() | AnswerRequested() if not fact.imported:
                times = self._of(fact.answer)
                times.asked = stored.time
                _tell_first(times)
            case AnswerEnded():
                self._ended(stored.time, fact)
            case _:
                pass

    def tokens(self, stored: Stored) -> None:
        """Called by the follower of TOKENS, for every event of every answer: all but the first cost one comparison."""
        if _FIRST_INDEX not in stored.data[:_HEAD_BYTES]:
            return
        answer = AnswerId(stored.subject.rpartition(".")[2])
        times = self._of(answer)
        times.first = stored.time
        _tell_first(times)
        self._tell_pace(answer, times)

    def _ended(self, time: datetime, end: AnswerEnded) -> None:
        if not end.last_index:  # no token is to be waited for
            self._running.pop(end.answer, None)
            return
        times = self._of(end.answer)
        times.ended = time
        if isinstance(end, AnswerCompleted):
            times.tokens = end.usage.output_tokens or end.last_index
        self._tell_pace(end.answer, times)

    def _tell_pace(self, answer: AnswerId, times: _Times) -> None:
        if times.first is not None and times.ended is not None:
            metrics.observe_pace(times.tokens, (times.ended - times.first).total_seconds())
            self._running.pop(answer, None)

    def _of(self, answer: AnswerId) -> _Times:
        times = self._running.get(answer)
        if times is None:
            times = self._running[answer] = _Times()
            if len(self._running) > _ANSWERS_MAX:
                self._running.popitem(last=False)
        return times


def _tell_first(times: _Times) -> None:
    if times.asked is not None and times.first is not None:
        metrics.FIRST_TOKEN.observe(max(0.0, (times.first - times.asked).total_seconds()))
