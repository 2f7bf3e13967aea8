"""Whether an answer is still asked for: a log that lost its tail may have lost the question with it."""

from shared.domain import subjects
from shared.domain.events import AnswerRequest, AnswerRequested, MessageRequested
from shared.domain.subjects import Sequence
from shared.log.protocol import Log


async def asked_at(log: Log, request: AnswerRequest, sequence: Sequence) -> Sequence:
    """The sequence of the request: another than `sequence` where it was lost, and asked again by the same id.

    0 where it is not there at all. The end of an answer that nobody asked for would bar the chat's id for ever:
    whoever got the `202` could not even ask again.
    """
    (found,) = await log.fetch(subjects.CHATS, [sequence])
    if found is not None and found.event == request:
        return sequence
    for recorded in await log.read(subjects.facts(request.chat), Sequence(0)):
        fact = recorded.event
        if isinstance(fact, MessageRequested | AnswerRequested) and fact.answer == request.answer:
            return recorded.sequence
    return Sequence(0)
