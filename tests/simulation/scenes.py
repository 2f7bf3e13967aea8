"""Scenes on the simulated servers: real services, with faults one by one as a test defines them."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from shared.domain import subjects
from shared.domain.events import AnswerEvent, Fact, encode, name_of
from shared.domain.subjects import AnswerId
from shared.log.recorded import Recorded
from shared.settings import Settings
from tests.simulation import provider
from tests.simulation.broker import EPOCH
from tests.simulation.loop import Process, SimLoop
from tests.simulation.processes import Machine, SimApi
from tests.simulation.provider import Moods
from tests.simulation.readers import Connection, Shown, stream
from tests.simulation.trace import Trace
from tests.support import examples

_PATIENCE_SECONDS = 60.0


class Stage:
    """Servers in calm weather. A violation of the checker's invariants ends the scene."""

    def __init__(self, loop: SimLoop) -> None:
        settings = Settings(titles=False, projector_retry_seconds=1.0)
        random_ = random.Random(1)
        self.machine = Machine(random_, loop, settings, Moods(), Trace(loop.time))
        self.broker, self.checker = self.machine.broker, self.machine.checker
        self.broker.stored, self.broker.purged = self._stored, self.checker.purged
        self.broker.queues["generators"].acked = self.checker.acked
        self.on_stored: Callable[[AnswerEvent | Fact], None] = lambda _event: None
        self._changed = asyncio.Event()
        self._client = Process("client")

    def _stored(self, stored: Recorded, by: Process) -> None:
        self.checker.stored(stored, by)
        assert isinstance(stored.event, Fact | AnswerEvent)
        self.on_stored(stored.event)
        self._changed.set()

    def append(self, *facts: Fact) -> None:
        """Appends facts like an API after valid commands."""
        for fact in facts:
            scope = subjects.facts(fact.chat)
            newest = self.broker.streams[subjects.CHATS].last(scope)
            expected = newest.sequence if newest else subjects.Sequence(0)
            subject = subjects.fact(fact.chat, name_of(fact))
            self.broker.publish(self._client, subject, encode(fact), expected, scope, fact.id)

    def ask(self, number: int = 1, tokens: int = 5, question: int = 1) -> AnswerId:
        """Posts a message in a new chat."""
        chat = subjects.ChatId(examples.local(number))
        local = examples.local(number * 100 + question)
        message, answer = subjects.message_id(chat, local), subjects.answer_id(chat, local)
        self.checker.by_local[local] = answer
        model = provider.model(local, tokens, can_continue=True)
        asked = examples.message_requested(chat=chat, id=message, message=message, answer=answer, model=model)
        self.append(examples.chat_created(chat=chat), asked)
        return answer

    async def until(self, holds: Callable[[], object]) -> None:
        """Waits for a condition, which is checked whenever a message is stored."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def wait_for_end(self, answer: AnswerId) -> None:
        await self.until(lambda: self.checker.answer(answer).fact)

    async def read(self, api: SimApi, shown: Shown, bytes_max: int | None = None) -> object:
        """Reads over one connection. Returns how it ended or the error that rejected it."""
        connection = Connection(shown, bytes_max)
        reply = api.serve(lambda: stream(api, shown.answer.id, examples.OWNER, shown.cursor, connection))
        return await asyncio.wait_for(reply, _PATIENCE_SECONDS)

    def shown(self, answer: AnswerId) -> Shown:
        return Shown(self.checker.answer(answer), self.checker)

    def lose(self, *streams: str) -> None:
        """Simulates a power failure of the broker's machine that loses whole streams; the processes stay alive."""
        self.broker.go_away()
        for name in streams:
            self.broker.streams[name].lose_since(EPOCH)
        chats = self.broker.streams[subjects.CHATS]
        for queue in self.broker.queues.values():
            queue.forget_after(chats.last_sequence)
        self.checker.begin_again()
        self.broker.come_back(restarted=True)

    async def caught_up(self, api: SimApi) -> None:
        await asyncio.wait_for(api.here.facts_follower.caught_up.wait(), _PATIENCE_SECONDS)
        await asyncio.wait_for(api.here.tokens_follower.caught_up.wait(), _PATIENCE_SECONDS)


def play(scene: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
    loop = SimLoop(random.Random(1))
    stage = Stage(loop)

    try:
        loop.run_until_complete(loop.spawn(loop.world, scene(stage)))
    finally:
        stage.machine.network.torn_down = True
        loop.tear_down()
