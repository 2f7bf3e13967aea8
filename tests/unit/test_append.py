"""Conditional appends that are retried: against a log that stores and forgets as it is told to."""

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from shared.domain import subjects
from shared.domain.errors import LogFull, LogUnavailable, SequenceConflict, TailLost
from shared.domain.events import encode
from shared.domain.subjects import Sequence
from shared.log.append import append_answer_event, append_fact
from shared.log.recorded import Recorded, record
from tests.support import examples


class ScriptedLog:
    """The rules of JetStream's conditional append, and a script of what goes wrong with each publish."""

    def __init__(self, *script: str) -> None:
        self.messages: list[Recorded] = []
        self.last_sequence = 0
        self._script = list(script)

    async def publish(
        self, subject: str, data: bytes, *, expected: Sequence, scope: str, id_: str = ""
    ) -> Sequence:
        step = self._script.pop(0) if self._script else "ok"
        if step == "full":
            raise LogFull("no room")
        if step == "lost":
            raise LogUnavailable("lost on the way there")
        newest = await self.last(scope)
        if expected != (newest.sequence if newest else 0):
            raise SequenceConflict(subject, expected)
        self.last_sequence += 1
        sequence = Sequence(self.last_sequence)
        self.messages.append(record(subject, sequence, datetime.now(UTC), data))
        if step == "stored, ack lost":
            raise LogUnavailable("lost on the way back")
        return sequence

    async def last(self, subject: str) -> Recorded | None:
        return next((one for one in reversed(self.messages) if _matches(subject, one.subject)), None)

    async def next(self, subject: str, at: Sequence) -> Recorded | None:
        return next(
            (one for one in self.messages if one.sequence >= at and _matches(subject, one.subject)), None
        )

    async def read(self, subject: str, after: Sequence) -> list[Recorded]:
        return [one for one in self.messages if one.sequence > after and _matches(subject, one.subject)]

    async def fetch(self, stream: str, sequences: Iterable[Sequence]) -> list[Recorded | None]:
        return [next((one for one in self.messages if one.sequence == wanted), None) for wanted in sequences]

    async def purge(self, subject: str, before: Sequence | None = None) -> None:
        self.messages = [one for one in self.messages if not _matches(subject, one.subject)]


def _matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    return len(wanted) == len(given) and all(w in {"*", g} for w, g in zip(wanted, given, strict=True))


NOTHING = Sequence(0)


async def test_the_retry_of_an_append_that_had_succeeded_is_known_as_ours() -> None:
    log = ScriptedLog("stored, ack lost")
    sequence = await append_fact(log, examples.chat_created(), NOTHING, patience_seconds=5)
    assert sequence == 1
    assert len(log.messages) == 1


async def test_an_append_that_was_lost_is_sent_again_and_stored_once() -> None:
    log = ScriptedLog("lost", "lost")
    assert await append_fact(log, examples.chat_created(), NOTHING, patience_seconds=5) == 1
    assert len(log.messages) == 1


async def test_ours_is_found_although_others_were_appended_after_it() -> None:
    log = ScriptedLog("stored, ack lost")
    with pytest.raises(LogUnavailable):
        await append_fact(log, examples.chat_created(), NOTHING, patience_seconds=0)
    await append_fact(log, examples.message_requested(1), Sequence(1), patience_seconds=5)
    assert await append_fact(log, examples.chat_created(), NOTHING, patience_seconds=5) == 1
    assert len(log.messages) == 2


async def test_anothers_event_in_our_place_is_a_conflict() -> None:
    log = ScriptedLog()
    await append_answer_event(
        log, examples.answer(), examples.started(worker="b"), NOTHING, patience_seconds=5
    )
    with pytest.raises(SequenceConflict):
        await append_answer_event(
            log, examples.answer(), examples.started(worker="a"), NOTHING, patience_seconds=5
        )


async def test_a_log_that_ends_before_what_it_acknowledged_is_told_from_a_conflict() -> None:
    log = ScriptedLog()
    first = await append_answer_event(log, examples.answer(), examples.started(), NOTHING, patience_seconds=5)
    second = await append_answer_event(log, examples.answer(), examples.token(1), first, patience_seconds=5)
    log.messages.pop()
    with pytest.raises(TailLost) as caught:
        await append_answer_event(log, examples.answer(), examples.token(2), second, patience_seconds=5)
    assert caught.value.last == first


async def test_patience_has_an_end_and_calling_again_is_safe() -> None:
    log = ScriptedLog("lost")
    with pytest.raises(LogUnavailable):
        await append_fact(log, examples.chat_created(), NOTHING, patience_seconds=0)
    assert await append_fact(log, examples.chat_created(), NOTHING, patience_seconds=0) == 1


def test_the_same_event_has_the_same_bytes() -> None:
    assert encode(examples.message_requested(1)) == encode(examples.message_requested(1))
    assert subjects.facts(examples.CHAT) == f"chats.{examples.CHAT}.*"


async def test_a_full_log_is_refused_to_a_command_at_once_and_waited_for_by_a_worker() -> None:
    with pytest.raises(LogFull):
        await append_fact(ScriptedLog("full"), examples.chat_created(), NOTHING, patience_seconds=5)
    log = ScriptedLog("full", "full")
    assert (
        await append_answer_event(log, examples.answer(), examples.started(), NOTHING, patience_seconds=5)
        == 1
    )
