"""Generates the title of a chat after its first answer: by the model, else from the first words of the question.

It never replaces a title that a person gave. A redelivery is harmless, because the facts of the chat show that there
is a title. The append expects the newest sequence of the chat, so that a concurrent rename wins.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncGenerator

from msgspec import Struct

from services.generator.prompt import text_of
from services.generator.providers import Delta, Finished, Prompt, PromptMessage, TextDelta
from services.generator.providers.registry import Registry
from services.generator.providers.retry import stream_with_retries
from services.generator.slots import Slots, keep_in_progress
from shared.domain import subjects
from shared.domain.errors import LogUnavailable, ProviderError, SequenceConflict, TailLost
from shared.domain.events import (
    AnswerCompleted,
    ChatCreated,
    ChatDeleted,
    ChatRenamed,
    MessageRequested,
    TitleGenerated,
)
from shared.domain.subjects import ChatId, Sequence
from shared.log.append import append_fact
from shared.log.protocol import Delivery, Log
from shared.logging import bind, logger
from shared.settings import Settings

log = logger(__name__)

_INSTRUCTIONS = (
    "Write a title for the conversation that follows: at most six words, in the language of the user, "
    "no quotation marks, no full stop. Reply with the title only."
)
_EXCERPT_CHARS = 1500
_TITLE_CHARS_MAX = 80
_OUTPUT_TOKENS = 40
_REPLY_CHARS_MAX = 1000
_SETTLED_MAX = 10_000
_CHARS_WITHOUT_SPACES = 24
"""Number of characters that replace the first words of a text without spaces, such as Chinese."""


class _Untitled(Struct, frozen=True):
    """A chat without a title: its newest sequence, and the question from which the title is made."""

    newest: Sequence
    question: MessageRequested


class Titles:
    """Takes completed answers from the queue, up to `titles_in_flight_max` at a time. The worker owns it."""

    def __init__(self, log_: Log, registry: Registry, settings: Settings) -> None:
        self._log = log_
        self._registry = registry
        self._settings = settings
        self._slots = Slots(settings.titles_in_flight_max)
        self._deliveries: set[Delivery] = set()
        self._settled: OrderedDict[ChatId, None] = OrderedDict()
        """Chats that have a title or were deleted, so that their further answers cost no read."""
        log_.on_reconnect(self._settled.clear)

    async def run(self) -> None:
        """Takes answers until it is cancelled."""
        ends = self._log.requests(subjects.TITLES, self._slots.wait_for_room)
        async with asyncio.TaskGroup() as group, contextlib.aclosing(ends):
            group.create_task(keep_in_progress(lambda: self._deliveries, self._settings.heartbeat_seconds))
            async for delivery in ends:
                await self._slots.take()
                self._deliveries.add(delivery)
                group.create_task(self._take(delivery))

    async def _take(self, delivery: Delivery) -> None:
        """Gives a title and acknowledges, also after an error: a title must not block the queue. If the log is away,
        the delivery comes again.
        """
        try:
            end = delivery.recorded.event
            if isinstance(end, AnswerCompleted) and end.chat not in self._settled:
                bind(
                    chat=end.chat, answer=end.answer, attempt=end.attempt, sequence=delivery.recorded.sequence
                )
                await self._give_title(end, delivery.recorded.sequence)
            await delivery.ack()
        except LogUnavailable as error:
            log.warning("title-waits", sequence=delivery.recorded.sequence, reason=str(error))
        except Exception:
            log.exception("title-failed", sequence=delivery.recorded.sequence)
            await delivery.ack()
        finally:
            self._deliveries.discard(delivery)
            self._slots.release()

    async def _give_title(self, end: AnswerCompleted, sequence: Sequence) -> None:
        untitled = await self._find_untitled(end.chat, sequence)
        if untitled is None:
            return
        text = text_of(untitled.question.content)
        title, source = await self._by_model(end, text), "model"
        if not title:
            title, source = from_words(text, self._settings.title_words_max), "words"
        while title and untitled is not None:
            fact = TitleGenerated(
                chat=end.chat,
                owner=end.owner,
                id=f"{end.chat}.title",
                title=title,
                source="model" if source == "model" else "words",
            )
            try:
                patience = self._settings.worker_append_patience_seconds
                titled = await append_fact(self._log, fact, untitled.newest, patience, wait_for_room=True)
            except (SequenceConflict, TailLost):
                untitled = await self._find_untitled(end.chat, sequence)
                continue
            self._settle(end.chat)
            log.info("titled", chat=end.chat, answer=end.answer, sequence=titled, source=source)
            return

    async def _find_untitled(self, chat: ChatId, sequence: Sequence) -> _Untitled | None:
        """Returns the chat if it has no title and was not deleted, with one read: the last fact of each kind.

        Raises `LogUnavailable` if the read came from a replica that does not have the answer's end at `sequence` yet.
        """
        found = await self._log.latest(subjects.facts(chat))
        newest = max((recorded.sequence for recorded in found), default=Sequence(0))
        if newest < sequence:
            raise LogUnavailable("a replica is behind the end of the answer")
        facts = [recorded.event for recorded in found]
        created = next((fact for fact in facts if isinstance(fact, ChatCreated)), None)
        is_settled = any(isinstance(fact, ChatDeleted | ChatRenamed | TitleGenerated) for fact in facts)
        if created is None or created.title is not None or is_settled:
            self._settle(chat)
            return None
        # The last question is a first one, too, in a chat with one answer: only a longer chat costs another read.
        question = next((fact for fact in facts if isinstance(fact, MessageRequested)), None)
        if question is not None and question.parent is not None:
            question = await self._first_question(chat)
        return _Untitled(newest, question) if question is not None and not question.imported else None

    async def _first_question(self, chat: ChatId) -> MessageRequested | None:
        found = await self._log.next(subjects.fact(chat, "message-requested"), Sequence(1))
        fact = found.event if found else None
        return fact if isinstance(fact, MessageRequested) else None

    def _settle(self, chat: ChatId) -> None:
        """Records that nothing is to be done for the chat any more: a title is final."""
        self._settled[chat] = None
        if len(self._settled) > _SETTLED_MAX:
            self._settled.popitem(last=False)

    async def _by_model(self, end: AnswerCompleted, text: str) -> str:
        """Returns the model's title, or '' if there is no model or it fails."""
        try:
            provider, model = self._registry.find(end.model)
            if provider.kind == "demo":
                return ""
            said = f"User: {text[:_EXCERPT_CHARS]}\n\nAssistant: {end.text[:_EXCERPT_CHARS]}"
            prompt = Prompt(
                model=model,
                messages=(PromptMessage("user", said),),
                system=_INSTRUCTIONS,
                params={"max_output_tokens": _OUTPUT_TOKENS},
            )
            async with asyncio.timeout(self._settings.title_provider_seconds):
                said = await _first_chars(stream_with_retries(provider, prompt, self._settings))
        except (ProviderError, TimeoutError) as error:
            log.warning("no-title-by-model", reason=type(error).__name__)
            return ""
        return tidy(said)


async def _first_chars(deltas: AsyncGenerator[Delta | Finished, None]) -> str:
    """Returns the text of a reply, or the beginning of a long one: the rest is neither read nor paid for."""
    text = ""
    async with contextlib.aclosing(deltas):
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                text += delta.text
            if len(text) > _REPLY_CHARS_MAX:
                break
    return text


def tidy(said: str) -> str:
    """Returns a model's reply as one short line without quotes and markup."""
    line = next((line for line in said.splitlines() if line.strip(" #*\"'`“”«»")), "")
    return _cut(line.strip(" #*\"'`“”«».").removeprefix("Title:").strip())


def from_words(text: str, words_max: int) -> str:
    words = text.split()
    if words and len(words[0]) > _CHARS_WITHOUT_SPACES:
        return _cut(words[0][:_CHARS_WITHOUT_SPACES] + "…")
    title = " ".join(words[:words_max])
    return _cut(title + "…" if len(words) > words_max else title)


def _cut(title: str) -> str:
    return title if len(title) <= _TITLE_CHARS_MAX else title[: _TITLE_CHARS_MAX - 1].rstrip() + "…"
