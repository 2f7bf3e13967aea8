"""`unspool verify` against systems that are whole, and that were tampered with."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from shared.domain import subjects
from shared.domain.events import encode
from shared.domain.subjects import Sequence
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support import examples
from tests.support.reader import Reader, at_index
from tests.support.servers import NatsProcess
from tests.support.system import Client, System
from tests.support.terminal import run


class Verified:
    """A system with a log of its own, and what `verify` says of it."""

    def __init__(self, system: System, nats_url: str, database: str, log: EventLog) -> None:
        self.system = system
        self.log = log
        self.database = database
        self._urls = {"UNSPOOL_NATS_URL": nats_url, "UNSPOOL_POSTGRES_URL": database}

    async def says(self, *arguments: str) -> tuple[int, list[str]]:
        status, out, errors = await run("verify", *arguments, variables=self._urls)
        assert errors == ""
        return status, out.splitlines()

    async def differences(self, *arguments: str) -> list[str]:
        status, lines = await self.says(*arguments)
        assert status == (1 if len(lines) > 3 else 0)
        return lines[:-3]

    async def tamper(self, statement: str, *arguments: object) -> None:
        connection = await asyncpg.connect(self.database)
        try:
            assert not (await connection.execute(statement, *arguments)).endswith(" 0")
        finally:
            await connection.close()


@pytest.fixture
async def verified(database: str, data_directory: Path) -> AsyncIterator[Verified]:
    async with NatsProcess(data_directory) as nats:
        log = await EventLog.connect(Settings(nats_url=nats.url), "test")
        system = System(nats.url, database, data_directory, titles=False)
        async with system:
            yield Verified(system, nats.url, database, log)
        await log.close()


async def answer(client: Client) -> str:
    """An answer that has ended, and whose end is in the rows."""
    asked = await client.ask_new_chat("demo/5x1ms")
    reader = await Reader().read(client, asked["answer"])
    assert reader.done is not None
    await client.history(asked["answer"].partition("_")[0], after=reader.done["cursor"])
    return asked["answer"]


async def test_a_system_at_work_has_no_differences(verified: Verified) -> None:
    async with verified.system.client() as client:
        chats = [(await answer(client)).partition("_")[0] for _ in range(3)]
        again = await client.http.post(f"/v1/chats/{chats[0]}/messages", json={"content": "And?"})
        await Reader().read(client, again.json()["answer"])
        assert (await client.http.delete(f"/v1/chats/{chats[1]}")).status_code == 204
        long = await client.ask_new_chat("demo/2000x50ms")
        await Reader().read(client, long["answer"], until=at_index(3))
        working = [asyncio.create_task(answer(client)) for _ in range(5)]
        status, lines = await verified.says()
        await asyncio.gather(*working)
        assert lines[-1] == "No differences."
        assert (status, len(lines)) == (0, 3)
        assert await verified.differences("--chat", chats[0]) == []
        await client.http.post(f"/v1/answers/{long['answer']}/cancel")
        await Reader().read(client, long["answer"])
    status, lines = await verified.says()
    assert lines[-1] == "No differences."
    assert lines[-2].startswith("8 chats, 18 messages and answers. 9 ended answers, 0 of them")


async def test_each_row_that_differs_is_a_line(verified: Verified) -> None:
    async with verified.system.client() as client:
        answers = [await answer(client) for _ in range(4)]
    chats = [answer.partition("_")[0] for answer in answers]
    await verified.tamper(
        "UPDATE unspool.messages SET text = 'nice words', attempt = 7 WHERE id = $1", answers[0]
    )
    await verified.tamper("DELETE FROM unspool.messages WHERE id = $1", answers[1])
    await verified.tamper("UPDATE unspool.chats SET title = 'Mine' WHERE id = $1", chats[2])
    await verified.tamper(
        "INSERT INTO unspool.chats SELECT 'zz', owner, title, titled, model, system, metadata, archived, hash, "
        "created, sequence, created_at, active_at, active FROM unspool.chats WHERE id = $1",
        chats[3],
    )
    assert set(await verified.differences()) == {
        f"messages {answers[0]}: differs from the log in text, attempt",
        f"messages {answers[1]}: is in the log, but not in the read model",
        f"chats {chats[2]}: differs from the log in title",
        "chats zz: is in the read model, but not in the log",
    }
    assert len(await verified.differences("--chat", chats[0])) == 1
    assert await verified.differences("--chat", chats[3]) == []
    leftover = "SELECT to_regnamespace('unspool_verifying') IS NULL"
    connection = await asyncpg.connect(verified.database)
    assert await connection.fetchval(leftover)
    await connection.close()


async def test_tokens_that_do_not_make_their_answer_are_lines_and_expired_ones_are_not(
    verified: Verified,
) -> None:
    async with verified.system.client() as client:
        zombie, expired, beheaded = [await answer(client) for _ in range(3)]
    subject = subjects.answer(zombie)
    newest = await verified.log.last(subject)
    assert newest is not None
    late = encode(examples.token(99, text="too late"))
    await verified.log.publish(subject, late, expected=newest.sequence, scope=subject)
    await verified.log.purge(subjects.answer(expired))
    tokens = await verified.log.read(subjects.answer(beheaded), Sequence(0))
    await verified.log.purge(subjects.answer(beheaded), before=tokens[2].sequence)
    status, lines = await verified.says()
    assert status == 1
    assert " 3 ended answers, 2 of them with expired tokens. 0 " in lines[-2]
    assert any(line.startswith(f"answer {zombie}: index 99 follows ") for line in lines)
    assert f"answer {zombie}: its tokens have events after the end" in lines
    assert f"answer {zombie}: its text differs from its tokens" in lines
    assert all(line.startswith(f"answer {zombie}: ") for line in lines[:-3])
    assert "too late" not in "".join(lines)


async def test_a_read_model_of_another_log_is_said_to_be_one(verified: Verified) -> None:
    await verified.system.apis[0].terminate()
    await verified.tamper("UPDATE unspool.checkpoint SET created = 'long ago'")
    (line,) = await verified.differences()
    assert line.startswith("read model: the read model was made from another log (created long ago")


async def test_a_chat_that_is_not_there_is_one_line(verified: Verified) -> None:
    status, out, errors = await run("verify", "--chat", examples.CHAT, variables=verified._urls)
    assert (status, out, errors) == (1, "", f"unspool: There is no chat '{examples.CHAT}'.\n")
