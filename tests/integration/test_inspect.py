"""`unspool inspect`: one stored event, whatever it holds."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from shared.domain import subjects
from shared.domain.events import encode, name_of
from shared.domain.subjects import ChatId, Sequence
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support import examples
from tests.support.terminal import run


@pytest.fixture
async def log(nats_url: str) -> AsyncIterator[EventLog]:
    connected = await EventLog.connect(Settings(nats_url=nats_url), "test")
    await connected.ensure()
    yield connected
    await connected.close()


async def store(log: EventLog, subject: str, data: bytes) -> Sequence:
    newest = await log.last(subject)
    expected = newest.sequence if newest else Sequence(0)
    return await log.publish(subject, data, expected=expected, scope=subject)


async def inspect_event(nats_url: str, *arguments: object) -> tuple[int, str, str]:
    variables = {"UNSPOOL_NATS_URL": nats_url}
    return await run("inspect", *(str(argument) for argument in arguments), variables=variables)


def fresh_chat() -> ChatId:
    return ChatId(str(uuid4()))


async def test_a_fact_is_shown_with_its_subject_and_time(log: EventLog, nats_url: str) -> None:
    created = examples.chat_created(chat=fresh_chat(), title="Trees\x1b[2J", system="One.\nTwo.")
    subject = subjects.fact(created.chat, name_of(created))
    sequence = await store(log, subject, encode(created))
    status, out, errors = await inspect_event(nats_url, sequence)
    assert (status, errors) == (0, "")
    for expected in (subject, f"sequence  {sequence}", "chat-created.v1", r'"system": "One.\nTwo."'):
        assert expected in out
    assert "\x1b" not in out


async def test_a_token_event_is_found_in_its_own_stream(log: EventLog, nats_url: str) -> None:
    chat = fresh_chat()
    subject = subjects.answer(subjects.answer_id(chat, examples.local(1)))
    sequence = await store(log, subject, encode(examples.token(1, text="Once ")))
    status, out, errors = await inspect_event(nats_url, sequence, "--stream", "TOKENS")
    assert (status, errors) == (0, "")
    assert "token-emitted.v1" in out
    assert '"text": "Once "' in out


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'{"type":"chat-painted.v7","colour":"blue"}', '"colour": "blue"'),
        (b"\xff\x00\x1b[2J no json", r"b'\xff\x00\x1b[2J no json'"),
        (b"x" * 100_000, "... and 98000 bytes more"),
        (b"[" * 10_000, "... and 8000 bytes more"),
        (b"", "b''"),
    ],
)
async def test_what_cannot_be_decoded_is_shown_with_the_reason(
    log: EventLog, nats_url: str, data: bytes, shown: str
) -> None:
    subject = subjects.answer(subjects.answer_id(fresh_chat(), examples.local(1)))
    sequence = await store(log, subject, data)
    status, out, errors = await inspect_event(nats_url, sequence, "--stream", "TOKENS")
    assert (status, errors) == (0, "")
    assert "event     cannot be decoded: " in out
    assert shown in out
    assert len(out) < 10_000


async def test_no_such_event_is_one_line(log: EventLog, nats_url: str) -> None:
    last = (await log.position(subjects.CHATS)).last
    status, out, errors = await inspect_event(nats_url, last + 1_000_000)
    assert (status, out) == (1, "")
    assert errors.startswith(f"unspool: there is no event at sequence {last + 1_000_000} of CHATS: CHATS ")
    assert errors.count("\n") == 1
