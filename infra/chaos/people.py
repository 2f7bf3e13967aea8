"""The load: simulated people who chat, and sometimes cancel, regenerate, read twice or delete a chat."""

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

from infra.chaos.replicas import Refused, Replicas
from infra.chaos.watcher import Watcher
from infra.chaos.witness import Asked, Seen, Witness
from shared.domain.subjects import ChatId, answer_id

MODELS = (
    "demo/150x10ms",
    "demo/60x25ms",
    "demo/30x5ms",
    "demo/400x5ms",
    "demo/40x60ms",
    "plain/120x10ms",
    "plain/50x30ms",
)
"""`plain` cannot continue a text: after a crash its answers start again with a reset."""
CREATED = frozenset({200, 201})
ACCEPTED = frozenset({202})
CANCELLED = frozenset({200, 202})
FOUND = frozenset({200})
DELETED = frozenset({204})
QUESTIONS_MAX = 4
SECOND_READERS = 0.25
CANCELS = 0.06
DELETES = 0.05
REGENERATES = 0.1
PAUSE_SECONDS = 0.0, 0.4


class Person:
    """One client that has one chat after another until `stop` is set. `run` closes its connections."""

    def __init__(self, seed: str, urls: Sequence[str], witness: Witness, stop: asyncio.Event) -> None:
        self._random = random.Random(seed)  # noqa: S311 - the seed reproduces the load
        self._witness = witness
        self._stop = stop
        self.replicas = Replicas(urls, witness, self._random.randrange(len(urls)))
        self._other = Replicas(urls, witness, self._random.randrange(len(urls)))

    async def run(self) -> None:
        """Chats until `stop` is set, then closes the connections."""
        try:
            while not self._stop.is_set():
                await self._hold_chat()
        finally:
            await self.replicas.close()
            await self._other.close()

    def cut(self) -> int:
        """Cuts all open streams and returns their number."""
        return self.replicas.cut() + self._other.cut()

    async def _hold_chat(self) -> None:
        chat = self._id()
        try:
            await self.replicas.call("POST", "POST", "/v1/chats", CREATED, json={"id": chat})
            for _ in range(self._random.randint(1, QUESTIONS_MAX)):
                if self._stop.is_set() or chat in self._witness.deleted:
                    break
                await self._ask_question(chat)
                await asyncio.sleep(self._random.uniform(*PAUSE_SECONDS))
            if chat not in self._witness.deleted and self._random.random() < DELETES:
                await self._delete(chat)
        except* Refused as group:
            for refused in group.exceptions:
                self._witness.add_finding("wrong", str(refused))

    async def _ask_question(self, chat: str) -> None:
        model, local = self._random.choice(MODELS), self._id()
        question = f"Question {local[:8]}: what outlives a process?"
        body = {"id": local, "content": question, "model": model}
        asked = Asked(chat, answer_id(ChatId(chat), local), question, model)
        await self._ask(asked, f"/v1/chats/{chat}/messages", body)
        await self._follow(asked)
        if chat not in self._witness.deleted and self._random.random() < REGENERATES:
            local = self._id()
            again = Asked(chat, answer_id(ChatId(chat), local), question, model, regenerated=True)
            await self._ask(again, f"/v1/answers/{asked.answer}/regenerate", {"id": local})
            await self._follow(again)

    async def _ask(self, asked: Asked, path: str, body: dict[str, str]) -> None:
        self._witness.attempted.add(asked.answer)
        response = await self.replicas.call("POST", "POST", path, ACCEPTED, json=body)
        if response.json()["answer"] != asked.answer:
            self._witness.add_finding(
                "wrong", f"{asked.answer}: the 202 names the answer {response.json()['answer']}"
            )
        self._witness.asked[asked.answer] = asked

    async def _follow(self, asked: Asked) -> None:
        """Reads the answer to its end; sometimes adds a second reader, cancels it, or deletes the chat."""
        watcher = Watcher(self.replicas, self._witness, asked.answer)
        async with asyncio.TaskGroup() as group:
            group.create_task(watcher.read())
            if self._random.random() < SECOND_READERS:
                group.create_task(Watcher(self._other, self._witness, asked.answer).read())
            choice, at = self._random.random(), self._random.randint(1, 30)
            if choice < CANCELS + DELETES:
                await watcher.wait_until(lambda seen: seen.last_index >= at)
                await (self._delete(asked.chat) if choice < DELETES else self._cancel(asked.answer))
        if not watcher.seen.gone:
            await self._compare_with_history(watcher.seen, asked.chat)

    async def _cancel(self, answer: str) -> None:
        await self.replicas.call("POST", "POST", f"/v1/answers/{answer}/cancel", CANCELLED)

    async def _delete(self, chat: str) -> None:
        self._witness.deleted.add(chat)
        await self.replicas.call("POST", "DELETE", f"/v1/chats/{chat}", DELETED)
        self._witness.gone.add(chat)

    async def _compare_with_history(self, seen: Seen, chat: str) -> None:
        """Checks that the history and the answer have the text that was just read."""
        if chat in self._witness.deleted:
            return
        after = {"after": seen.done_cursor}
        history = await self.replicas.call("GET", "GET", f"/v1/chats/{chat}", FOUND, params=after)
        answer = await self.replicas.call("GET", "GET", f"/v1/answers/{seen.answer}", FOUND, params=after)
        nodes = {node["id"]: node for node in history.json()["messages"]}
        node = nodes.get(seen.answer, {})
        for where, found in (("the history", node), ("the answer", answer.json())):
            if (found.get("text"), found.get("status")) != (seen.text, seen.status):
                self._witness.add_finding("wrong", f"{seen.answer}: {where} has {found.get('text')!r:.80}")

    def _id(self) -> str:
        return str(UUID(int=self._random.getrandbits(128), version=4))
