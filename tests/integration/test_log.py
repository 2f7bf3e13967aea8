"""`EventLog` against a real JetStream: each promise of its protocol."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import uuid4

import pytest

from shared.domain import subjects
from shared.domain.errors import LogUnavailable, SequenceConflict, TailLost
from shared.domain.events import decode_fact, encode, name_of
from shared.domain.subjects import AnswerId, ChatId, Sequence
from shared.log.append import append_answer_event, append_fact
from shared.log.event_log import EventLog
from shared.log.follower import Follower
from shared.log.recorded import Recorded
from shared.settings import Settings
from tests.support import examples

NOTHING = Sequence(0)


@pytest.fixture
def settings(nats_url: str) -> Settings:
    return Settings(nats_url=nats_url)


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[EventLog]:
    event_log = await EventLog.connect(settings, "test")
    await event_log.ensure()
    yield event_log
    await event_log.close()


def new_chat() -> ChatId:
    return ChatId(str(uuid4()))


async def append_chat(log: EventLog, chat: ChatId, facts: int = 1) -> list[Sequence]:
    """A chat of so many facts, and their sequences."""
    last, sequences = NOTHING, []
    for number in range(facts):
        fact = examples.chat_created(chat=chat, id=f"{chat}.{number}", title=str(number))
        last = await append_fact(log, fact, last, 5)
        sequences.append(last)
    return sequences


async def append_tokens(log: EventLog, answer: AnswerId, count: int) -> list[Sequence]:
    sequences = [await append_answer_event(log, answer, examples.started(), NOTHING, 5)]
    for index in range(1, count + 1):
        sequences.append(await append_answer_event(log, answer, examples.token(index), sequences[-1], 5))
    return sequences


async def test_a_chat_wide_condition_refuses_an_append_on_a_stale_state(log: EventLog) -> None:
    chat = new_chat()
    (first,) = await append_chat(log, chat)
    await append_fact(
        log, examples.chat_renamed("one").__class__(chat=chat, owner="x", id="a", title="a"), first, 5
    )
    with pytest.raises(SequenceConflict):
        await append_fact(
            log, examples.chat_renamed().__class__(chat=chat, owner="x", id="b", title="b"), first, 5
        )


async def test_the_retry_of_an_append_that_had_succeeded_gives_its_sequence(log: EventLog) -> None:
    fact = examples.chat_created(chat=new_chat())
    first = await append_fact(log, fact, NOTHING, 5)
    assert await append_fact(log, fact, NOTHING, 5) == first


async def test_reads_are_whole_in_order_and_of_one_chat_only(log: EventLog) -> None:
    chats = [new_chat(), new_chat()]
    appended = [await append_chat(log, chat, facts=30) for chat in chats]
    for chat, sequences in zip(chats, appended, strict=True):
        assert [one.sequence for one in await log.read(subjects.facts(chat), NOTHING)] == sequences
        assert [one.sequence for one in await log.read(subjects.facts(chat), sequences[9])] == sequences[10:]
    assert await log.read(subjects.facts(new_chat()), NOTHING) == []


async def test_a_read_of_more_than_one_batch_is_whole(log: EventLog) -> None:
    answer = subjects.answer_id(new_chat(), examples.local(1))
    sequences = await append_tokens(log, answer, 1100)
    assert [one.sequence for one in await log.read(subjects.answer(answer), NOTHING)] == sequences


async def test_many_answers_are_read_in_one_scan(log: EventLog) -> None:
    answers = [subjects.answer_id(new_chat(), examples.local(1)) for _ in range(5)]
    sequences = {subjects.answer(answer): await append_tokens(log, answer, 20) for answer in answers}
    empty = subjects.answer(subjects.answer_id(new_chat(), examples.local(1)))
    found = await log.read_many([*sequences, empty])
    assert {name: [one.sequence for one in stored] for name, stored in found.items()} == sequences | {
        empty: []
    }


async def test_facts_are_fetched_by_sequence_in_the_order_asked_for(log: EventLog) -> None:
    sequences = await append_chat(log, new_chat(), facts=5)
    wanted = [sequences[3], Sequence(10**9), sequences[0]]
    found = await log.fetch(subjects.CHATS, wanted)
    assert [one.sequence if one else None for one in found] == [sequences[3], None, sequences[0]]


async def test_purging_up_to_a_tombstone_keeps_it_and_nothing_brings_the_chat_back(log: EventLog) -> None:
    chat = new_chat()
    *_, last = await append_chat(log, chat, facts=3)
    deleted = examples.chat_deleted().__class__(chat=chat, owner="x", id=f"{chat}.deleted")
    tombstone = await append_fact(log, deleted, last, 5)
    await log.purge(subjects.facts(chat), before=tombstone)
    assert [one.sequence for one in await log.read(subjects.facts(chat), NOTHING)] == [tombstone]
    with pytest.raises(SequenceConflict):
        await append_fact(log, examples.chat_created(chat=chat, id="again"), NOTHING, 5)


async def test_a_purged_answer_is_told_from_a_conflict(log: EventLog) -> None:
    answer = subjects.answer_id(new_chat(), examples.local(1))
    sequences = await append_tokens(log, answer, 3)
    await log.purge(subjects.answer(answer))
    with pytest.raises(TailLost):
        await append_answer_event(log, answer, examples.token(4), sequences[-1], 5)


async def test_the_streams_have_the_settings_that_were_measured(log: EventLog) -> None:
    manager = log._connection.manager()
    chats = (await manager.stream_info(subjects.CHATS)).config
    tokens = (await manager.stream_info(subjects.TOKENS)).config
    assert (chats.subjects, chats.allow_direct, chats.deny_delete) == (["chats.*.*"], True, True)
    assert chats.duplicate_window == 120
    assert not chats.max_age
    assert (tokens.max_age, tokens.discard, tokens.deny_delete) == (24 * 3600, "new", True)
    consumer = (await manager.consumer_info(subjects.CHATS, subjects.GENERATORS)).config
    assert (consumer.ack_wait, consumer.max_deliver) == (3, -1)
    assert (consumer.max_ack_pending, consumer.max_waiting) == (50_000, 2000)


async def test_making_the_streams_again_with_other_limits_changes_them(log: EventLog, nats_url: str) -> None:
    other = await EventLog.connect(Settings(nats_url=nats_url, tokens_max_age_seconds=7200), "other")
    try:
        await other.ensure()
        assert (await log._connection.manager().stream_info(subjects.TOKENS)).config.max_age == 7200
    finally:
        await other.close()
        await log.ensure()


async def test_an_id_that_another_event_has_used_is_a_conflict_and_no_silent_success(log: EventLog) -> None:
    one, two = (examples.chat_created(chat=new_chat(), id=f"{uuid4()}") for _ in range(2))
    two = examples.chat_created(chat=two.chat, id=one.id)
    await append_fact(log, one, NOTHING, 5)
    with pytest.raises(SequenceConflict):
        await append_fact(log, two, NOTHING, 5)


async def test_a_question_to_a_worker_that_is_dead_is_answered_at_once(log: EventLog) -> None:
    assert await log.ask(subjects.worker("dead"), "answer", 5) is None
    await log.listen(subjects.worker("alive"), lambda question: f"{question}?")
    assert await log.ask(subjects.worker("alive"), "answer", 5) == "answer?"


async def test_no_broker_is_one_clear_error() -> None:
    settings = Settings(nats_url="nats://someone:secret@127.0.0.1:9", log_connect_seconds=0.5)
    with pytest.raises(LogUnavailable, match=r"no NATS at nats://127\.0\.0\.1:9") as caught:
        await EventLog.connect(settings, "test")
    assert "secret" not in str(caught.value)


class Seen:
    def __init__(self) -> None:
        self.stored: list[Recorded] = []
        self._wanted = 0
        self._enough = asyncio.Event()

    def __call__(self, stored: Recorded) -> None:
        self.stored.append(stored)
        if len(self.stored) >= self._wanted:
            self._enough.set()

    async def until(self, count: int) -> list[Sequence]:
        self._wanted = count
        if len(self.stored) < count:
            self._enough.clear()
            async with asyncio.timeout(30):
                await self._enough.wait()
        return [one.sequence for one in self.stored]


async def test_a_follower_sees_every_event_once_in_order_and_says_when_it_has_caught_up(
    log: EventLog, settings: Settings
) -> None:
    chat = new_chat()
    before = await append_chat(log, chat, facts=3)
    seen = Seen()

    async def start() -> Sequence:
        return before[0]

    follower = Follower(log, subjects.CHATS, seen, settings, start=start)
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(30):
        await follower.caught_up.wait()
    assert [one.sequence for one in seen.stored] == before
    more = await append_chat(log, new_chat(), facts=200)
    assert await seen.until(203) == before + more
    assert follower.position == more[-1]
    task.cancel()


async def test_a_follower_that_begins_a_little_before_now_sees_what_is_recent(
    log: EventLog, settings: Settings
) -> None:
    (recent,) = await append_chat(log, new_chat())
    seen = Seen()
    follower = Follower(log, subjects.CHATS, seen, settings)
    task = asyncio.create_task(follower.run())
    async with asyncio.timeout(30):
        await follower.caught_up.wait()
    assert recent in [one.sequence for one in seen.stored]
    assert seen.stored[0].time >= seen.stored[-1].time - timedelta(
        seconds=settings.follower_overlap_seconds + 1
    )
    assert follower.began_after < seen.stored[0].sequence
    task.cancel()


async def test_what_is_read_is_what_was_appended(log: EventLog) -> None:
    fact = examples.chat_created(chat=new_chat(), title="Ünïcode 😀  \x85", metadata={"a": [1, None, "é"]})
    await append_fact(log, fact, NOTHING, 5)
    (stored,) = await log.read(subjects.facts(fact.chat), NOTHING)
    assert decode_fact(stored.data) == fact
    assert stored.data == encode(fact)
    assert stored.subject == subjects.fact(fact.chat, name_of(fact))
