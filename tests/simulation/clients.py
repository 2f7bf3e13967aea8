"""Clients that send commands: to any replica, repeated with the same ids until there is a result."""

import asyncio
import random
from typing import Any

from services.api.commands.decisions import (
    ChangeChat,
    Command,
    CreateChat,
    DeleteChat,
    RequestAnswer,
    RequestCancel,
    RequestMessage,
)
from services.api.commands.handler import Executed
from shared.domain import subjects
from shared.domain.chat import ChatState
from shared.domain.errors import AnswerInProgress, NotFound, Rejected
from shared.domain.events import TextPart
from shared.domain.subjects import AnswerId, ChatId
from tests.simulation import provider
from tests.simulation.processes import SimApi
from tests.simulation.readers import Shown, read
from tests.support import examples

OWNER = examples.OWNER
_PATIENCE_SECONDS = 8.0


class ChatClient:
    """A person with one chat: posts messages, reads, cancels, regenerates, and may delete the chat."""

    def __init__(self, world: Any, number: int) -> None:
        self._world = world
        self._random: random.Random = world.random
        self._checker = world.machine.checker
        self._chat = ChatId(examples.local(number))
        self._locals = iter(range(number * 100, number * 100 + 99))
        self.reading: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        await self._command(CreateChat(chat=self._chat, owner=OWNER, request_hash="h"))
        newest: AnswerId | None = None
        for _ in range(self._random.randint(1, 3)):
            again = newest is not None and self._random.random() < 0.25
            newest = await (self._regenerate(newest) if again and newest else self._ask()) or newest
            if newest is not None:
                await self._meanwhile(newest)
        if self._random.random() < 0.3:
            await asyncio.sleep(self._random.random() * 2)
            await self._delete()

    async def _ask(self) -> AnswerId | None:
        local, model = self._new()
        message, answer = subjects.message_id(self._chat, local), subjects.answer_id(self._chat, local)
        return await self._request(
            answer,
            RequestMessage(
                chat=self._chat,
                owner=OWNER,
                message=message,
                answer=answer,
                content=(TextPart(f"question {local[-4:]}"),),
                model=model,
                request_hash=local,
            ),
        )

    async def _regenerate(self, beside: AnswerId) -> AnswerId | None:
        local, model = self._new()
        answer = subjects.answer_id(self._chat, local)
        return await self._request(
            answer,
            RequestAnswer(
                chat=self._chat, owner=OWNER, beside=beside, answer=answer, model=model, request_hash=local
            ),
        )

    def _new(self) -> tuple[str, str]:
        local = examples.local(next(self._locals))
        self._checker.by_local[local] = subjects.answer_id(self._chat, local)
        tokens = self._random.randint(0, 12)
        return local, provider.model(local, tokens, can_continue=self._random.random() < 0.6)

    async def _request(self, answer: AnswerId, command: Command) -> AnswerId | None:
        state = await self._command(command)
        if not isinstance(state, ChatState):
            return None
        known = self._checker.answer(answer)
        self._checker.require(
            known.request or self._checker.tail_lost, f"{answer}: acknowledged, and not in the log"
        )
        known.accepted = True
        for _ in range(self._random.randint(1, 2)):
            shown = Shown(known, self._checker)
            reading = read(shown, OWNER, self._random, self._world.pick_api)
            self.reading.append(asyncio.create_task(reading))
        return answer

    async def _meanwhile(self, answer: AnswerId) -> None:
        await asyncio.sleep(self._random.random() ** 2)
        what = self._random.random()
        if what < 0.3:
            await self._command(RequestCancel(chat=self._chat, owner=OWNER, answer=answer))
        elif what < 0.4:
            await self._command(ChangeChat(chat=self._chat, owner=OWNER, id=str(answer), title="a name"))

    async def _delete(self) -> None:
        while True:
            done = await self._call(self._world.pick_api(), self._delete_chat)
            if done is True:
                self._checker.purge_acknowledged.add(self._chat)
            if done is True or isinstance(done, NotFound):
                return
            await asyncio.sleep(self._random.random())

    async def _delete_chat(self, api: SimApi) -> bool:
        """Deletes the chat like the route does."""
        await api.here.commands.execute(DeleteChat(chat=self._chat, owner=OWNER))
        await api.here.commands.purge(self._chat)
        return True

    async def _command(self, command: Command) -> ChatState | Exception:
        """Returns the state after the command, or the error that rejected it."""
        while True:
            twice = self._random.random() < 0.1
            if twice:
                double = self._call(self._world.pick_api(), lambda api: api.here.commands.execute(command))
                self.reading.append(asyncio.create_task(double))
            verdict = await self._call(self._world.pick_api(), lambda api: api.here.commands.execute(command))
            told = "done" if isinstance(verdict, Executed) else repr(verdict)
            self._world.trace.add("client", f"{type(command).__name__} {self._chat}: {told}")
            if isinstance(verdict, Executed):
                return verdict.state
            if isinstance(verdict, Rejected) and not isinstance(verdict, AnswerInProgress):
                return verdict
            await asyncio.sleep(0.05 + self._random.random() * 0.5)

    async def _call(self, api: SimApi, handle: Any) -> Any:
        reply = api.serve(lambda: handle(api))
        try:
            return await asyncio.wait_for(asyncio.shield(reply), _PATIENCE_SECONDS)
        except TimeoutError as error:
            return error
