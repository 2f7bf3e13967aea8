"""Generates one answer, from its delivered request to its end in the log.

The order makes a crash at any line harmless: `GenerationStarted` before the provider is called; `GenerationEnded` on
the answer's subject, which decides the outcome; the fact on the chat's subject; the acknowledgement last, by the worker
that calls `run`.
"""

import asyncio
from enum import Enum
from typing import assert_never

from services.generator import metrics
from services.generator import prompt as prompts
from services.generator.problems import INTERNAL, problem_of
from services.generator.providers import Finished
from services.generator.providers.registry import Registry
from services.generator.providers.retry import stream_with_retries
from services.generator.relay import Copy
from services.generator.request_lookup import find_request
from services.generator.takeover import EndNow, Generate, Gone, Plan, Settled, WriteFact, next_attempt, plan
from services.generator.writer import AnswerWriter
from shared.domain import subjects
from shared.domain.errors import (
    ChatGone,
    ProviderError,
    ProviderInterrupted,
    ProviderRefused,
    SequenceConflict,
    TailLost,
)
from shared.domain.events import (
    AnswerRequest,
    CancelRequested,
    ChatDeleted,
    Fact,
    GenerationHandedOver,
    GenerationReset,
    GenerationStarted,
    Outcome,
    Problem,
    Usage,
)
from shared.domain.subjects import Sequence
from shared.log.protocol import Log
from shared.log.recorded import facts_of
from shared.logging import bind, logger
from shared.settings import Settings

log = logger(__name__)


class Stop(Enum):
    """The reason to stop an answer."""

    CANCELLED = "cancelled"
    DELETED = "deleted"
    HANDED_OVER = "handed-over"


class HandedOver(Exception):
    """The worker stops: the request goes back to the queue at once."""


class AlreadyBegun(Exception):
    """Another worker has begun the answer: it is no first delivery, and the log must be read."""


class Generation:
    """Generates one answer. Call `run` once, and `stop` at any time. The worker owns it."""

    def __init__(
        self,
        request: AnswerRequest,
        sequence: Sequence,
        *,
        log_: Log,
        registry: Registry,
        settings: Settings,
        worker: str,
    ) -> None:
        self.request = request
        self.request_sequence = sequence
        """The sequence of the request; 0 if the log has lost it."""
        self.doubtful = False
        """True after the log was away: it may have lost its tail."""
        self._log = log_
        self._registry = registry
        self._settings = settings
        self._worker = worker
        self.writer = AnswerWriter(log_, request.answer, settings.worker_append_patience_seconds)
        self._copy: Copy | None = None
        self._stop: Stop | None = None
        self._interruptions = 0
        self._is_first = False
        """True if nothing was read: what has come since the request is unknown."""
        self._usage = Usage()

    def stop(self, why: Stop) -> None:
        """Closes the connection to the provider at once and keeps the text so far. Only the first reason counts."""
        if self._stop is None:
            self._stop = why
        if self._copy is not None:
            self._copy.stop()

    async def run(self) -> None:
        """Generates the answer and returns when its request can be acknowledged.

        Raises `HandedOver` if the request must go back to the queue, `SequenceConflict` if another worker has the
        answer, and `LogUnavailable` if the log stays away too long.
        """
        try:
            await self._run()
        except ChatGone:
            await self._forget()

    async def run_as_first(self) -> None:
        """Generates the answer as `run`, for a first delivery: nothing is read before the first append, which proves
        that the answer's subject is empty. Raises `AlreadyBegun` if it is not.
        """
        self.writer.assume_empty()
        self._is_first = True
        try:
            await self._carry_out(self._plan([]))
        except ChatGone:
            await self._forget()
        except SequenceConflict as error:
            if self.writer.state.sequence:
                raise
            self._is_first = False
            self.writer.assume_nothing()
            raise AlreadyBegun from error

    async def _run(self) -> None:
        facts = await self._facts_since()
        await self.writer.load_once()
        await self._carry_out(self._plan(facts))

    async def _carry_out(self, todo: Plan) -> None:
        log.info("planned", **self.log_fields, plan=type(todo).__name__)
        metrics.planned(todo, self.writer.state)
        match todo:
            case Settled():
                return
            case Gone():
                raise ChatGone(self.request.chat)
            case WriteFact():
                pass
            case EndNow():
                await self._end_now(todo)
            case Generate():
                await self._generate(todo)
            case _:
                assert_never(todo)
        await self._write_fact()

    async def give_up(self) -> None:
        """Ends the answer as failed. For a request on which this code has failed several times."""
        await self.writer.load_once()
        await self._end_now(EndNow("failed", INTERNAL))
        await self._write_fact()

    async def is_requested_at(self, sequence: Sequence) -> bool:
        """Returns True if the log has the request at this sequence. It reads only after the log was away."""
        if self.doubtful:
            self.request_sequence = await find_request(self._log, self.request, self.request_sequence)
        return self.request_sequence == sequence

    @property
    def log_fields(self) -> dict[str, object]:
        state = self.writer.state
        return {
            "chat": self.request.chat,
            "answer": self.request.answer,
            "sequence": state.sequence,
            "attempt": state.attempt,
        }

    def _plan(self, facts: list[Fact]) -> Plan:
        if self._stop is Stop.HANDED_OVER:
            raise HandedOver
        try:
            can_continue = self._can_continue()
        except ProviderError:
            can_continue = False
        return plan(
            self.request,
            self.writer.state,
            facts,
            can_continue=can_continue,
            crashes_max=self._settings.attempts_max,
        )

    def _can_continue(self) -> bool:
        provider, model = self._registry.find(self.request.model)
        return provider.can_continue(model, self.request.params)

    async def _facts_since(self) -> list[Fact]:
        scope = subjects.facts(self.request.chat)
        return facts_of(await self._log.read(scope, self.request_sequence))

    # --- generating -------------------------------------------------------------------------------

    async def _generate(self, todo: Generate) -> None:
        """Makes attempts until one ends. After an interruption the next one continues the text, or begins again."""
        self._usage = self.writer.state.usage
        while True:
            try:
                finished = await metrics.attempt(self.request.model, self._attempt(todo))
            except ProviderInterrupted as error:
                self._interruptions += 1
                if self._interruptions >= self._settings.attempts_max:
                    return await self._append_end("failed", error=problem_of(error))
                log.warning("interrupted", **self.log_fields, status=error.status)
                todo = next_attempt(
                    self.writer.state, crashes=todo.crashes, can_continue=self._can_continue()
                )
            except ProviderRefused as error:
                if not todo.go_on or self.writer.state.spans[-1].attempt == todo.attempt:
                    return await self._append_end("failed", error=problem_of(error))
                # The provider may reject the given text, although `prefill` allows it: try once without.
                log.warning("prefill-refused", **self.log_fields, status=error.status)
                todo = next_attempt(self.writer.state, crashes=todo.crashes, can_continue=False)
            except ProviderError as error:
                return await self._append_end("failed", error=problem_of(error))
            else:
                return await self._finish(finished)

    async def _finish(self, finished: Finished | None) -> None:
        if finished is not None:
            self._usage += finished.usage
            return await self._append_end("completed", finish_reason=finished.finish_reason)
        match self._stop:
            case Stop.HANDED_OVER:
                attempt = self.writer.state.attempt
                await self.writer.append(GenerationHandedOver(attempt=attempt, usage=self._usage))
                raise HandedOver
            case Stop.DELETED:
                raise ChatGone(self.request.chat)
            case _:
                return await self._append_end("cancelled", finish_reason="cancelled")

    async def _attempt(self, todo: Generate) -> Finished | None:
        """Calls the provider and copies its stream to the log. Returns None after `stop`. Raises `ProviderError`."""
        provider, model = self._registry.find(self.request.model)
        prefill = self.writer.state.whole_text if todo.go_on else ""
        trimmed = prompts.build(
            self.request,
            await self._context(),
            model=model,
            prefill=prefill,
            context_tokens=provider.context_tokens,
            output_tokens=self._settings.output_tokens_max,
        )
        started = GenerationStarted(
            attempt=todo.attempt,
            worker=self._worker,
            model=f"{provider.name}/{model}",
            request=self.request_sequence,
            left_out=trimmed.left_out,
            crashes=todo.crashes,
        )
        if self._is_first:
            await self._append_first(started)
        else:
            await self.writer.append(started)
        bind(**self.log_fields)
        if todo.reset:
            await self.writer.append(GenerationReset(attempt=todo.attempt))
        self._copy = Copy(
            stream_with_retries(provider, trimmed.prompt, self._settings), self.writer, self._settings
        )
        if self._stop is not None:
            self._copy.stop()
        return await self._copy.run()

    async def _append_first(self, started: GenerationStarted) -> None:
        """Appends the beginning, and meanwhile asks for what has come since the request: nothing, but for a stop."""
        self._is_first = False
        scope = subjects.facts(self.request.chat)
        _, newest = await asyncio.gather(self.writer.append(started), self._log.last(scope))
        if newest is not None and newest.sequence == self.request_sequence:
            return
        for fact in await self._facts_since():
            match fact:
                case ChatDeleted():
                    raise ChatGone(self.request.chat)
                case CancelRequested() if fact.answer == self.request.answer:
                    self.stop(Stop.CANCELLED)
                case _:
                    pass

    async def _context(self) -> list[Fact]:
        found = await self._log.fetch(subjects.CHATS, self.request.context)
        chat = self.request.chat  # An imported or forged reference must not reveal another chat's text.
        return facts_of(one for one in found if one and one.chat == chat)

    # --- ending --------------------------------------------------------------------------------------

    async def _end_now(self, todo: EndNow) -> None:
        await self.writer.end_without_provider(
            self.request, self.request_sequence, worker=self._worker, outcome=todo.outcome, error=todo.error
        )

    async def _append_end(
        self, outcome: Outcome, *, finish_reason: str = "", error: Problem | None = None
    ) -> None:
        await self.writer.append_end(outcome, usage=self._usage, finish_reason=finish_reason, error=error)

    async def _write_fact(self) -> None:
        """Appends the fact of the end. The first try expects the request to be the chat's newest fact: it saves a read."""
        if self.doubtful:  # Another fact of this chat may have the request's sequence by now.
            await self._check_request()
        expected = self.request_sequence
        while True:
            try:
                sequence = await self.writer.append_end_fact(self.request, expected)
                break
            except (SequenceConflict, TailLost):
                newest = await self._plan_again()
            if newest is None:
                return
            expected = newest
        ended = self.writer.state.ended
        assert ended is not None  # noqa: S101 - its fact was just appended
        log.info("ended", **(self.log_fields | {"sequence": sequence}), outcome=ended.outcome)
        metrics.ended(self.request.model, ended)

    async def _plan_again(self) -> Sequence | None:
        """Returns the chat's newest sequence, or None if another writer appended the end. Raises `ChatGone`."""
        await self._check_request()
        scope = subjects.facts(self.request.chat)
        since = await self._log.read(scope, self.request_sequence)
        todo = self._plan(facts_of(since))
        if isinstance(todo, Gone):
            raise ChatGone(self.request.chat)
        if isinstance(todo, Settled):
            return None
        newest = since[-1] if since else await self._log.last(scope)
        return newest.sequence if newest else Sequence(0)

    async def _check_request(self) -> None:
        """Updates the sequence of the request from the log. Raises `ChatGone` if the request is not there."""
        self.request_sequence = await find_request(self._log, self.request, self.request_sequence)
        if not self.request_sequence:
            raise ChatGone(self.request.chat)

    async def _forget(self) -> None:
        """Purges events that this worker appended after the tokens of the chat were purged."""
        log.info("chat-gone", **self.log_fields)
        await self._log.purge(subjects.answer(self.request.answer))
