"""Compares answers with their tokens: every end in CHATS with the events that TOKENS still holds.

Memory holds the ids of open answers, and the events of a few answers at a time.
"""

import asyncio
from collections.abc import AsyncIterator

from infra.verify.answer import differences, starts_at_beginning
from infra.verify.facts import Facts
from shared.domain import subjects
from shared.domain.errors import UndecodableEvent
from shared.domain.events import (
    AnswerEnded,
    AnswerRequested,
    ChatDeleted,
    MessageRequested,
)
from shared.domain.subjects import AnswerId, Sequence
from shared.log.protocol import Log
from shared.log.recorded import Recorded, Unknown, answer_events_of

_AT_A_TIME = 8


class Answers:
    """Compares all answers of `facts`. Call `compare` once; afterwards the counts are final."""

    def __init__(self, log: Log, facts: Facts) -> None:
        self._log = log
        self._facts = facts
        self._open: set[AnswerId] = set()
        self.compared = 0
        self.expired = 0
        """The number of compared answers whose tokens have expired, at least in part."""

    @property
    def open_count(self) -> int:
        return len(self._open)

    async def compare(self, up_to: Sequence) -> AsyncIterator[str]:
        """Yields a line per difference, in the order of the ends. Skips chats that are deleted meanwhile."""
        async for batch in self._facts.read_batches(Sequence(0), up_to):
            ends: list[AnswerEnded] = []
            for stored in batch:
                for line in self._check_fact(stored, ends):
                    yield line
            for some in _group(ends):
                found = await asyncio.gather(*(self._compare_with_tokens(end) for end in some))
                for end, lines in zip(some, found, strict=True):
                    if lines and await self._facts.was_deleted_after(end.chat, Sequence(0)):
                        continue
                    for line in lines:
                        yield f"answer {end.answer}: {line}"

    def _check_fact(self, stored: Recorded, ends: list[AnswerEnded]) -> list[str]:
        fact = stored.event
        match fact:
            case Unknown():
                return [
                    f"event {stored.sequence}: cannot be decoded; run `unspool inspect {stored.sequence}` to see it"
                ]
            case MessageRequested() | AnswerRequested():
                self._open.add(fact.answer)
            case AnswerEnded():
                if fact.answer not in self._open:
                    return [f"answer {fact.answer}: has an end at {stored.sequence} without a request"]
                self._open.remove(fact.answer)
                ends.append(fact)
            case ChatDeleted():
                self._open = {answer for answer in self._open if subjects.chat_of(answer) != fact.chat}
            case _:
                pass
        return []

    async def _compare_with_tokens(self, end: AnswerEnded) -> list[str]:
        stored = await self._log.read(subjects.answer(end.answer), Sequence(0))
        try:
            events = [event for event, _ in answer_events_of(stored)]
        except UndecodableEvent:
            return ["its tokens have an event that cannot be decoded"]
        self.compared += 1
        if not events or not starts_at_beginning(events):
            self.expired += 1
        return list(differences(events, end)) if events else []


def _group(ends: list[AnswerEnded]) -> list[list[AnswerEnded]]:
    return [ends[at : at + _AT_A_TIME] for at in range(0, len(ends), _AT_A_TIME)]
