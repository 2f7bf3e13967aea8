"""A worker that is given up for dead and wakes up again: whatever it still had to say, it says to nobody."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.domain.events import AnswerEvent, GenerationStarted, TokenEmitted
from shared.domain.subjects import Attempt
from shared.log.event_log import EventLog
from tests.support.answers import Follower, ask_new_chat, events_of, log_of, state_of, text_of
from tests.support.servers import NatsProcess
from tests.support.system import Process, System

ACK_WAIT_SECONDS = 1.0
TIMES = 3
MODEL = "demo/500x10ms"
PATIENCE_SECONDS = 60.0
POLL_SECONDS = 0.05


@pytest.fixture
async def fleet(own_nats: NatsProcess, database: str, data_directory: Path) -> AsyncIterator[System]:
    async with System(
        own_nats.url,
        database,
        data_directory,
        generators=2,
        ack_wait_seconds=ACK_WAIT_SECONDS,
        heartbeat_seconds=ACK_WAIT_SECONDS / 3,
        attempts_max=2 * TIMES,
    ) as made:
        yield made


async def test_a_worker_that_wakes_up_after_its_answer_was_taken_over_is_fenced(
    fleet: System, own_nats: NatsProcess
) -> None:
    """Again and again, on one and the same answer, which is whole all the same."""
    follower = Follower(await ask_new_chat(fleet, MODEL))
    reading = asyncio.create_task(follower.follow(fleet))
    async with log_of(own_nats.url) as log:
        for attempt in range(1, TIMES + 1):
            await follower.wait_for_index(follower.last_index + 20)
            state = await state_of(log, follower.answer)
            assert state.attempt == attempt
            zombie = next(one for one in fleet.generators if state.worker in one.log())
            await pause_until_taken_over(log, follower.answer, zombie, attempt)
        await reading
        events = [event for event, _ in await events_of(log, follower.answer)]
    check_attempts(events, TIMES + 1)
    assert follower.text == text_of(MODEL)


async def pause_until_taken_over(log: EventLog, answer: str, zombie: Process, attempt: int) -> None:
    """Returns when the zombie is awake again, and knows that it is one."""
    fenced = zombie.log().count('"fenced"')
    zombie.send(signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await state_of(log, answer)).attempt == attempt:
            await asyncio.sleep(POLL_SECONDS)
        zombie.send(signal.SIGCONT)
        while zombie.log().count('"fenced"') == fenced:
            await asyncio.sleep(POLL_SECONDS)


def check_attempts(events: list[AnswerEvent], attempts: int) -> None:
    """Each attempt's events stand together, and none of an earlier one comes later."""
    attempt = Attempt(0)
    for event in events:
        attempt = event.attempt if isinstance(event, GenerationStarted) else attempt
        assert event.attempt == attempt, "an event of a zombie"
    indexes = [event.index for event in events if isinstance(event, TokenEmitted)]
    assert indexes == list(range(1, len(indexes) + 1))
    assert attempt == attempts
