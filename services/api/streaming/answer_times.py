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
    MessageRequested,
    TokenEmitted,
)
from shared.domain.subjects import AnswerId
from shared.log.recorded import Recorded

_ANSWERS_MAX = 50_000
_FIRST_INDEX = 1


class _Times(Struct):
    asked: datetime | None = None
    first: datetime | None = None
    ended: datetime | None = None
    tokens: int = 0


class AnswerTimes:
    """Bounded: the oldest answers are forgotten, and then not counted."""

    def __init__(self) -> None:
        self._running: OrderedDict[AnswerId, _Times] = OrderedDict()

    def fact(self, recorded: Recorded) -> None:
        """Called by the follower of CHATS, in order."""
        match recorded.event:
            case (MessageRequested() | AnswerRequested()) as request if not request.imported:
                times = self._of(request.answer)
                times.asked = recorded.time
                _tell_first(times)
            case AnswerEnded() as end:
                self._ended(recorded.time, end)
            case _:
                pass

    def tokens(self, recorded: Recorded) -> None:
        """Called by the follower of TOKENS, for every event of every answer: all but the first cost one comparison."""
        event, answer = recorded.event, recorded.answer
        if not isinstance(event, TokenEmitted) or event.index != _FIRST_INDEX or answer is None:
            return
        times = self._of(answer)
        times.first = recorded.time
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
