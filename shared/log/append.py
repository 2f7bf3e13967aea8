"""Conditional appends that are safe to repeat.

Each append names the sequence that it expects to be the newest. A broker rejects the retry of an append *that had
succeeded* just like a stale one. So a rejection is not final: read on from the expected sequence, from the leader; if
one of the events there is ours, the append succeeded.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from shared.backoff import backoff_seconds
from shared.domain import subjects
from shared.domain.errors import LogFull, LogUnavailable, SequenceConflict, TailLost, UnspoolError
from shared.domain.events import AnswerEnded, AnswerEvent, Fact, encode, name_of
from shared.domain.subjects import AnswerId, Sequence
from shared.log.protocol import AppendLog
from shared.log.recorded import Recorded

_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 2.0


class Appended(NamedTuple):
    """Where an event is stored. `is_new` is False if it was stored before the call."""

    sequence: Sequence
    is_new: bool


async def append_fact(
    log: AppendLog,
    fact: Fact | AnswerEnded,
    expected: Sequence,
    patience_seconds: float,
    *,
    wait_for_room: bool = False,
) -> Sequence:
    """Appends as `store_fact`, and returns the fact's sequence."""
    appended = await store_fact(log, fact, expected, patience_seconds, wait_for_room=wait_for_room)
    return appended.sequence


async def store_fact(
    log: AppendLog,
    fact: Fact | AnswerEnded,
    expected: Sequence,
    patience_seconds: float,
    *,
    wait_for_room: bool = False,
) -> Appended:
    """Appends to the chat if `expected` is the chat's newest sequence.

    Returns the fact's place, also if an earlier try or call had stored it. Raises `SequenceConflict` if another fact came
    first, and `LogUnavailable` after `patience_seconds`: it is then unknown whether the fact was stored, and a call with
    the same fact is safe. Raises `LogFull` at once or, with `wait_for_room`, only after `patience_seconds`.
    """
    subject, data = subjects.fact(fact.chat, name_of(fact)), encode(fact)
    scope = subjects.facts(fact.chat)

    async def once() -> Sequence:
        return await log.publish(subject, data, expected=expected, scope=scope, id_=fact.id)

    waited_for = (LogUnavailable, LogFull) if wait_for_room else (LogUnavailable,)
    return await _append_until_stored(log, scope, data, expected, once, patience_seconds, waited_for)


async def append_answer_event(
    log: AppendLog,
    answer: AnswerId,
    event: AnswerEvent,
    expected: Sequence,
    patience_seconds: float,
    check: Callable[[], Awaitable[None]] | None = None,
) -> Sequence:
    """Appends to the answer's own subject, which fences workers: a conflict means that another worker has the answer.

    `check` is awaited before each try. Raises `SequenceConflict`, and `TailLost` if the broker lost acknowledged events.
    Waits if the log is full.
    """
    subject, data = subjects.answer(answer), encode(event)

    async def once() -> Sequence:
        return await log.publish(subject, data, expected=expected, scope=subject)

    waited_for = (LogUnavailable, LogFull)
    appended = await _append_until_stored(
        log, subject, data, expected, once, patience_seconds, waited_for, check
    )
    return appended.sequence


async def _append_until_stored(
    log: AppendLog,
    scope: str,
    data: bytes,
    expected: Sequence,
    once: Callable[[], Awaitable[Sequence]],
    patience_seconds: float,
    waited_for: tuple[type[UnspoolError], ...],
    check: Callable[[], Awaitable[None]] | None = None,
) -> Appended:
    now = asyncio.get_running_loop().time
    deadline = now() + patience_seconds
    failures = 0
    while True:
        try:
            if check is not None:
                await check()
            try:
                return Appended(await once(), is_new=True)
            except SequenceConflict:
                return Appended(await _ours(log, scope, data, expected), is_new=failures > 0)
        except waited_for:
            failures += 1
            wait = backoff_seconds(
                failures, first_seconds=_FIRST_WAIT_SECONDS, longest_seconds=_LONGEST_WAIT_SECONDS
            )
            if now() + wait > deadline:
                raise
        await asyncio.sleep(wait)


async def _ours(log: AppendLog, scope: str, data: bytes, expected: Sequence) -> Sequence:
    """Returns the sequence of our own event if it follows the expected one. Raises `SequenceConflict` otherwise."""
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
