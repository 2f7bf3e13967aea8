"""Conditional appends that may be repeated: the half of "nothing lost, nothing doubled" that writes.

The law of this file. An append says which sequence it expects to be the last one. A broker refuses the
retry of an append *that had succeeded* just as it refuses a stale one. So a refusal is no verdict: the
log is read on from the expected sequence, from the leader, and if one of the events there is ours, we had won.
"""

import asyncio
from collections.abc import Awaitable, Callable

from shared.backoff import backoff_seconds
from shared.domain import subjects
from shared.domain.errors import LogFull, LogUnavailable, SequenceConflict, TailLost, UnspoolError
from shared.domain.events import AnswerEnded, AnswerEvent, Fact, encode, name_of
from shared.domain.subjects import AnswerId, Sequence
from shared.log.protocol import AppendLog
from shared.log.recorded import Recorded

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 2.0


async def append_fact(
    log: AppendLog,
    fact: Fact | AnswerEnded,
    expected: Sequence,
    patience_seconds: float,
    *,
    wait_for_room: bool = False,
) -> Sequence:
    """Appends to the chat on the condition that `expected` is the chat's newest sequence.

    Returns the fact's sequence, also when an earlier try had stored it. Raises `SequenceConflict` when
    another fact came first, and `LogUnavailable` when patience ran out: then it is not known
    whether it was stored, and calling again with the same fact is safe. A log without room is `LogFull` at
    once, or, with `wait_for_room`, waited for like one that is away.
    """
    subject, data = subjects.fact(fact.chat, name_of(fact)), encode(fact)
    scope = subjects.facts(fact.chat)

    async def once() -> Sequence:
        return await log.publish(subject, data, expected=expected, scope=scope, id_=fact.id)

    waited_for = (LogUnavailable, LogFull) if wait_for_room else (LogUnavailable,)
    return await _settled(log, scope, data, expected, once, patience_seconds, waited_for)


async def append_answer_event(
    log: AppendLog,
    answer: AnswerId,
    event: AnswerEvent,
    expected: Sequence,
    patience_seconds: float,
    check: Callable[[], Awaitable[None]] | None = None,
) -> Sequence:
    """Appends to the answer's own subject: the fence. `SequenceConflict` means that another worker has the answer.

    `check` comes before each try, and may raise it too. Raises `TailLost` when the broker has forgotten what it had
    acknowledged. A log without room is waited for.
    """
    subject, data = subjects.answer(answer), encode(event)

    async def once() -> Sequence:
        return await log.publish(subject, data, expected=expected, scope=subject)

    waited_for = (LogUnavailable, LogFull)
    return await _settled(log, subject, data, expected, once, patience_seconds, waited_for, check)


async def _settled(
    log: AppendLog,
    scope: str,
    data: bytes,
    expected: Sequence,
    once: Callable[[], Awaitable[Sequence]],
    patience_seconds: float,
    waited_for: tuple[type[UnspoolError], ...],
    check: Callable[[], Awaitable[None]] | None = None,
) -> Sequence:
    now = asyncio.get_running_loop().time
    deadline = now() + patience_seconds
    failures = 0
    while True:
        try:
            if check is not None:
                await check()
            try:
                return await once()
            except SequenceConflict:
                return await _ours(log, scope, data, expected)
        except waited_for:
            failures += 1
            wait = backoff_seconds(
                failures, first_seconds=_FIRST_WAIT_SECONDS, longest_seconds=_LONGEST_WAIT_SECONDS
            )
            if now() + wait > deadline:
                raise
        await asyncio.sleep(wait)


async def _ours(log: AppendLog, scope: str, data: bytes, expected: Sequence) -> Sequence:
    """The sequence of our own event, if it stands after the expected one; else the conflict is real."""
    found: Recorded | None = await log.next(scope, Sequence(expected + 1))
    if found is None:
        last = await log.last(scope)
        # Nothing after it, and yet refused: the log ends before what it had acknowledged to us.
        end = last.sequence if last else Sequence(0)
        if end < expected:
            raise TailLost(scope, expected, end)
    while found is not None:
        if found.data == data:
            return found.sequence
        found = await log.next(scope, Sequence(found.sequence + 1))
    raise SequenceConflict(scope, expected)
