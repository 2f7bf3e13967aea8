"""A conversation in one chat at a time: asking, watching answers, going from chat to chat."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from infra.terminal.interrupts import Interrupts
from infra.terminal.lines import unseen_typing
from infra.terminal.screen import Screen
from infra.terminal.telling import Telling
from shared.client import Chat, Client, ClientError, Done, Message

T = TypeVar("T")
WAITING = "waiting for the server…"
CANCELLING = "cancelling…"
SHOWN_MAX = 20
"""Messages of a chat that is opened."""


class Abandoned(Exception):
    """The person did not want to wait for the server any longer."""


class Conversation:
    """`failures`: how many messages got no answer, or one that failed."""

    def __init__(self, client: Client, screen: Screen, interrupts: Interrupts, model: str | None) -> None:
        self._client = client
        self._screen = screen
        self._interrupts = interrupts
        self.model = model
        self.chat: str | None = None
        self.title: str | None = None
        self.newest_answer: str | None = None
        self.cursor: str | None = None
        """Of the newest that was written here: what is read afterwards has it."""
        self.failures = 0

    async def waited_for(self, call: Coroutine[Any, Any, T]) -> T:
        """Says so if the server takes long; Ctrl-C ends the waiting (`Abandoned`)."""
        task = asyncio.create_task(call)
        try:
            with self._interrupts.mean(task.cancel), self._screen.waiting(WAITING), unseen_typing():
                return await task
        except asyncio.CancelledError as error:
            if task.cancelled() and not _being_cancelled():
                raise Abandoned from error
            task.cancel()
            raise

    async def say(self, text: str) -> None:
        """Asks, and shows the answer. The chat is made with its first message."""
        if self.chat is None:
            made = await self.waited_for(self._client.create_chat(title=self.title, model=self.model))
            self.chat = made.id
        accepted = await self.waited_for(self._client.post(self.chat, text, model=self.model))
        self.cursor = accepted.cursor
        await self.watch(accepted.answer)

    async def regenerate(self, model: str | None) -> None:
        if self.newest_answer is None:
            self._screen.problem("There is no answer yet to make again.")
            return
        call = self._client.regenerate(self.newest_answer, model=model or self.model)
        accepted = await self.waited_for(call)
        self.cursor = accepted.cursor
        await self.watch(accepted.answer)

    async def watch(self, answer: str) -> None:
        """Shows it to its end. The first Ctrl-C cancels it, the second leaves it to itself."""
        self.newest_answer = answer
        showing = asyncio.create_task(self._show(answer))
        cancelling: list[asyncio.Task[None]] = []

        def interrupted() -> None:
            if cancelling:
                showing.cancel()
            else:
                cancelling.append(asyncio.create_task(self._cancel(answer)))

        try:
            with self._interrupts.mean(interrupted), unseen_typing():
                done = await showing
                self.failures += done is None or done.status == "failed"
        except asyncio.CancelledError:
            if not showing.cancelled() or _being_cancelled():
                showing.cancel()
                raise
            self._screen.line("[left; it may go on without you]", "dim")
        finally:
            for task in cancelling:
                task.cancel()
            await asyncio.gather(*cancelling, return_exceptions=True)

    async def _show(self, answer: str) -> Done | None:
        telling = Telling(self._screen)
        done = None
        async with contextlib.aclosing(self._client.stream(answer, watch=telling.connection)) as events:
            async for event in events:
                telling.apply(event)
                done = event if isinstance(event, Done) else None
        self.cursor = done.cursor if done else self.cursor
        return done

    async def _cancel(self, answer: str) -> None:
        self._screen.status(CANCELLING)
        try:
            await self._client.cancel(answer)
        except ClientError as error:
            self._screen.problem(f"Not cancelled: {error}")

    # --- from chat to chat ---------------------------------------------------------------------------

    def begin(self, title: str | None) -> None:
        self.chat, self.title, self.newest_answer = None, title, None

    async def open(self, chat: str, *, shown: bool = True) -> list[str]:
        """Shows what was said, and goes on with an answer that is being made. Returns what the person had asked."""
        found = await self.waited_for(self._client.chat(chat, after=self.cursor))
        branch = found.branch()
        self.chat, self.title = found.id, found.title
        answers = [message for message in branch if message.role != "user"]
        self.newest_answer = answers[-1].id if answers else None
        if shown:
            await self._show_chat(found, branch)
        return [message.said for message in branch if message.role == "user"]

    async def _show_chat(self, chat: Chat, branch: Sequence[Message]) -> None:
        self._screen.line(chat.title or "(no title yet)", "bold")
        if len(branch) > SHOWN_MAX:
            self._screen.line(f"[{len(branch) - SHOWN_MAX} messages before these]", "dim")
        for message in branch[-SHOWN_MAX:]:
            if message.role == "user":
                self._screen.question(message.said)
            elif message.running:
                await self.watch(message.id)
            else:
                self._screen.line(message.said)
                if message.status != "completed":
                    self._screen.line(f"[{message.status}]", "dim")

    async def rename(self, title: str) -> None:
        """Before its first message a chat is not there yet: it gets its title when it is made."""
        if self.chat is not None:
            changed = await self.waited_for(self._client.change_chat(self.chat, title=title))
            self.cursor = changed.cursor
        self.title = title


def _being_cancelled() -> bool:
    """Whether it is this very task that is to end, and not one that it waits for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
