"""A chat that is deleted while it is being imported."""

from typing import Any
from uuid import uuid4

import pytest

from infra.transfer.exported import Export, ExportedFact
from infra.transfer.importing import Import, ImportStopped
from shared.domain import subjects
from shared.domain.events import AnswerEvent, Fact
from shared.domain.subjects import ChatId, Sequence
from shared.log.append import append_fact
from shared.log.event_log import EventLog
from shared.settings import Settings
from tests.support import examples

FACTS: list[Fact] = [examples.chat_created(), examples.message_requested(1), examples.answer_completed(1)]
TOKENS: list[AnswerEvent] = [examples.started(), examples.token(1), examples.ended()]


class DeletedMeanwhile:
    """A log in which somebody deletes the chat just before its first token event is appended."""

    def __init__(self, log: EventLog, chat: ChatId) -> None:
        self._log = log
        self._chat = chat
        self._deleted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def publish(self, subject: str, data: bytes, **options: Any) -> Sequence:
        if subject.startswith("tokens.") and not self._deleted:
            self._deleted = True
            newest = await self._log.last(subjects.facts(self._chat))
            assert newest is not None
            deleted = examples.chat_deleted()
            tombstone = type(deleted)(chat=self._chat, owner=deleted.owner, id=f"{self._chat}.deleted")
            await append_fact(self._log, tombstone, newest.sequence, 5)
            await self._log.purge(subjects.answers(self._chat))
        return await self._log.publish(subject, data, **options)


async def test_a_chat_that_is_deleted_while_it_is_imported_stays_deleted(nats_url: str) -> None:
    chat = ChatId(str(uuid4()))
    told = [ExportedFact(Sequence(number), fact) for number, fact in enumerate(FACTS, start=1)]
    exported = Export(examples.CHAT, told, {examples.answer(1): list(TOKENS)}, [])
    settings = Settings(nats_url=nats_url)
    log = await EventLog.connect(settings, "test")
    try:
        await log.ensure()
        slow: Any = DeletedMeanwhile(log, chat)
        with pytest.raises(ImportStopped, match="stopped after 2 of 3 facts"):
            await Import(slow, settings, exported, chat).run()
        newest = await log.last(subjects.facts(chat))
        assert newest is not None
        assert newest.subject.endswith(".chat-deleted")
        assert await log.read(subjects.answers(chat), Sequence(0)) == []
    finally:
        await log.close()
