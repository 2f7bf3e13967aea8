"""Finds the request of an answer in the log, which may have lost it together with its tail."""

from shared.domain import subjects
from shared.domain.events import AnswerRequest, AnswerRequested, MessageRequested
from shared.domain.subjects import Sequence
from shared.log.protocol import Log


async def find_request(log: Log, request: AnswerRequest, sequence: Sequence) -> Sequence:
    """Returns the sequence at which the request is stored, or 0 if the log does not have it.

    The result differs from `sequence` if the request was lost and then repeated with the same id. Never write an end
    without its request: the end would block the chat's id, and the client could not repeat the call.
    """
    (found,) = await log.fetch(subjects.CHATS, [sequence])
    if found is not None and found.event == request:
        return sequence
    for recorded in await log.read(subjects.facts(request.chat), Sequence(0)):
        fact = recorded.event
        if isinstance(fact, MessageRequested | AnswerRequested) and fact.answer == request.answer:
            return recorded.sequence
    return Sequence(0)
