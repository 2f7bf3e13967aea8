"""A conversation in one chat at a time: posts messages, shows answers, changes the chat."""

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from unspool_client import Chat, Client, ClientError, Done, Message

from infra.terminal.answer_view import AnswerView
from infra.terminal.interrupts import Interrupts
from infra.terminal.lines import hide_typing
from infra.terminal.screen import Screen

T = TypeVar("T")
WAITING = "waiting for the server…"
CANCELLING = "cancelling…"
SHOWN_MAX = 20
"""Limit of messages shown when a chat is opened."""


class Abandoned(Exception):
    """The user interrupted a call. The server may still have executed it."""


class Conversation:
    """The state of one session. `failures` counts messages without a complete answer. The caller owns the client."""

    def __init__(self, client: Client, screen: Screen, interrupts: Interrupts, model: str | None) -> None:
        self._client = client
        self._screen = screen
        self._interrupts = interrupts
        self.model = model
        self.chat: str | None = None
        self.title: str | None = None
        self.newest_answer: str | None = None
        self.cursor: str | None = None
        """The cursor of the newest write of this session: later reads include it."""
        self.failures = 0

    async def wait_for(self, call: Coroutine[Any, Any, T]) -> T:
        """Awaits a call and shows a status if it takes long. Raises `Abandoned` on Ctrl-C."""
        task = asyncio.create_task(call)
        try:
            with self._interrupts.redirect(task.cancel), self._screen.show_waiting(WAITING), hide_typing():
                return await task
        except asyncio.CancelledError as error:
            if task.cancelled() and not _is_being_cancelled():
                raise Abandoned from error
            task.cancel()
            raise

    async def say(self, text: str) -> None:
        """Posts a message and shows its answer. The first message creates the chat."""
        if self.chat is None:
            made = await self.wait_for(self._client.create_chat(title=self.title, model=self.model))
            self.chat = made.id
        accepted = await self.wait_for(self._client.post(self.chat, text, model=self.model))
        self.cursor = accepted.cursor
        await self.watch(accepted.answer)

    async def regenerate(self, model: str | None) -> None:
        """Requests another answer to the last message and shows it."""
        if self.newest_answer is None:
            self._screen.print_problem("There is no answer yet to regenerate.")
            return
        call = self._client.regenerate(self.newest_answer, model=model or self.model)
        accepted = await self.wait_for(call)
        self.cursor = accepted.cursor
        await self.watch(accepted.answer)

    async def watch(self, answer: str) -> None:
        """Shows an answer to its end. The first Ctrl-C cancels it, the second stops showing it."""
        self.newest_answer = answer
        showing = asyncio.create_task(self._show(answer))
        cancelling: list[asyncio.Task[None]] = []

        def interrupt() -> None:
            if cancelling:
                showing.cancel()
            else:
                cancelling.append(asyncio.create_task(self._cancel(answer)))

        try:
            with self._interrupts.redirect(interrupt), hide_typing():
                done = await showing
                self.failures += done is None or done.status == "failed"
        except asyncio.CancelledError:
            if not showing.cancelled() or _is_being_cancelled():
                showing.cancel()
                raise
            self._screen.print_line("[not shown to its end; the server may continue it]", "dim")
        finally:
            for task in cancelling:
                task.cancel()
            await asyncio.gather(*cancelling, return_exceptions=True)

    async def _show(self, answer: str) -> Done | None:
        view = AnswerView(self._screen)
        view.begin()
        done = None
        async with contextlib.aclosing(self._client.stream(answer, watch=view.show_connection)) as events:
            async for event in events:
                view.apply(event)
                done = event if isinstance(event, Done) else None
        self.cursor = done.cursor if done else self.cursor
        return done

    async def _cancel(self, answer: str) -> None:
        self._screen.set_status(CANCELLING)
        try:
            await self._client.cancel(answer)
        except ClientError as error:
            self._screen.print_problem(f"Not cancelled: {error}")

    # --- from chat to chat ---------------------------------------------------------------------------

    def begin(self, title: str | None) -> None:
        """Starts a new chat with the next message."""
        self.chat, self.title, self.newest_answer = None, title, None

    async def open(self, chat: str, *, shown: bool = True) -> list[str]:
        """Opens a chat, shows its newest messages, and follows an answer in generation. Returns the user's messages."""
        found = await self.wait_for(self._client.chat(chat, after=self.cursor))
        branch = found.branch()
        self.chat, self.title = found.id, found.title
        answers = [message for message in branch if message.role != "user"]
        self.newest_answer = answers[-1].id if answers else None
        if shown:
            await self._show_chat(found, branch)
        return [message.said for message in branch if message.role == "user"]

    async def _show_chat(self, chat: Chat, branch: Sequence[Message]) -> None:
        self._screen.print_line(chat.title or "(no title yet)", "bold")
        if len(branch) > SHOWN_MAX:
            self._screen.print_line(f"[{len(branch) - SHOWN_MAX} earlier messages]", "dim")
        for message in branch[-SHOWN_MAX:]:
            if message.role == "user":
                self._screen.print_question(message.said)
            elif message.running:
                await self.watch(message.id)
            else:
                self._screen.print_line(message.said)
                if message.status != "completed":
                    self._screen.print_line(f"[{message.status}]", "dim")

    async def rename(self, title: str) -> None:
        """Sets the chat's title. Before the first message it is kept until the chat is created."""
        if self.chat is not None:
            changed = await self.wait_for(self._client.change_chat(self.chat, title=title))
            self.cursor = changed.cursor
        self.title = title


def _is_being_cancelled() -> bool:
    """Returns True if the current task itself is cancelled, not only a task that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
