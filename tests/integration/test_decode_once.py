"""An API process decodes each event once, however many of its parts use it."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from uuid import uuid4

import pytest
from msgspec import structs

from services.api.app import open_context
from shared.domain import subjects
from shared.domain.events import AnswerEvent, Fact, encode
from shared.domain.subjects import ChatId, Sequence
from shared.log import recorded
from shared.log.append import append_answer_event, append_fact
from shared.log.recorded import Event
from shared.settings import Settings
from tests.support import examples
from tests.support.servers import NatsProcess

TOKENS = 20
PATIENCE_SECONDS = 30.0


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[bytes]:
    """How often this process has decoded which bytes."""
    count: Counter[bytes] = Counter()

    def counting(decode: Callable[[bytes], Event]) -> Callable[[bytes], Event]:
        def decode_and_count(data: bytes) -> Event:
            count[data] += 1
            return decode(data)

        return decode_and_count

    decoders = {stream: counting(decode) for stream, decode in recorded._DECODERS.items()}
    monkeypatch.setattr(recorded, "_DECODERS", MappingProxyType(decoders))
    return count


async def test_hot_log_feed_states_and_metrics_share_one_decoding(
    data_directory: Path, database: str, decoded: Counter[bytes]
) -> None:
    chat = ChatId(str(uuid4()))
    asked = structs.replace(
        examples.message_requested(), chat=chat, answer=subjects.answer_id(chat, str(uuid4()))
    )
    facts: list[Fact] = [examples.chat_created(chat=chat, id=f"{chat}.created"), asked]
    events: list[AnswerEvent] = [examples.started(), *map(examples.token, range(1, TOKENS + 1))]
    events.append(examples.ended(last_index=TOKENS))
    end = structs.replace(
        examples.answer_completed(),
        chat=chat,
        answer=asked.answer,
        id=f"{asked.answer}.end",
        last_index=TOKENS,
    )
    async with (
        NatsProcess(
            data_directory
        ) as nats,  # of its own: a generator of other tests would answer the request
        asyncio.timeout(PATIENCE_SECONDS),
        open_context(
            Settings(nats_url=nats.url, postgres_url=database, projector=False), failed=lambda: None
        ) as context,
    ):
        await context.facts_follower.caught_up.wait()
        await context.tokens_follower.caught_up.wait()
        context.hot_log.begin(asked.answer)
        hot = context.hot_log.get(asked.answer)
        assert hot is not None
        newest = Sequence(0)
        for fact in facts:
            newest = await append_fact(context.log, fact, newest, PATIENCE_SECONDS)
        last = Sequence(0)
        for event in events:
            last = await append_answer_event(context.log, asked.answer, event, last, PATIENCE_SECONDS)
        await append_fact(context.log, end, newest, PATIENCE_SECONDS)
        while not hot.done:
            await hot.wait_for_change()
    for stored in (*facts, *events, end):
        assert decoded[encode(stored)] == 1, stored
