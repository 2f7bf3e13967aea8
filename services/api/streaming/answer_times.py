"""Measures latency and rate of answers by the broker's clock: times of request, first token and end.

Every API process follows the whole log and so observes every answer: quantiles and ratios over all replicas are
right, counts must be divided by the number of replicas. The two followers are not synchronized: the three times
arrive in any order.
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
    """Collects the times of open answers and observes the metrics. Beyond its limit it evicts the oldest answers, which
    are then not counted. The app owns it.
    """

    def __init__(self) -> None:
        self._running: OrderedDict[AnswerId, _Times] = OrderedDict()

    def follow(self, recorded: Recorded) -> None:
        """Records requests and ends. The follower of CHATS calls it in order."""
        match recorded.event:
            case (MessageRequested() | AnswerRequested()) as request if not request.imported:
                times = self._get_or_create(request.answer)
                times.asked = recorded.time
                _observe_first(times)
            case AnswerEnded() as end:
                self._record_end(recorded.time, end)
            case _:
                pass

    def follow_tokens(self, recorded: Recorded) -> None:
        """Records first tokens. The follower of TOKENS calls it for every event; most cost only a comparison."""
        event, answer = recorded.event, recorded.answer
        if not isinstance(event, TokenEmitted) or event.index != _FIRST_INDEX or answer is None:
            return
        times = self._get_or_create(answer)
        times.first = recorded.time
        _observe_first(times)
        self._observe_pace(answer, times)

    def _record_end(self, time: datetime, end: AnswerEnded) -> None:
        if not end.last_index:  # It has no tokens.
            self._running.pop(end.answer, None)
            return
        times = self._get_or_create(end.answer)
        times.ended = time
        if isinstance(end, AnswerCompleted):
            times.tokens = end.usage.output_tokens or end.last_index
        self._observe_pace(end.answer, times)

    def _observe_pace(self, answer: AnswerId, times: _Times) -> None:
        if times.first is not None and times.ended is not None:
            metrics.observe_pace(times.tokens, (times.ended - times.first).total_seconds())
            self._running.pop(answer, None)

    def _get_or_create(self, answer: AnswerId) -> _Times:
        times = self._running.get(answer)
        if times is None:
            times = self._running[answer] = _Times()
            if len(self._running) > _ANSWERS_MAX:
                self._running.popitem(last=False)
        return times


def _observe_first(times: _Times) -> None:
    if times.asked is not None and times.first is not None:
        metrics.FIRST_TOKEN.observe(max(0.0, (times.first - times.asked).total_seconds()))
