"""Takes requests from the queue, generates their answers concurrently, and hands them over when it stops.

Invariants: at most `answers_in_flight_max` answers are in work; a heartbeat keeps their requests from redelivery, and
the worker tells other workers which answers it has; a request is acknowledged only after its end is in the log.
"""

import asyncio
import contextlib
from uuid import uuid4

from services.generator import metrics
from services.generator.generation import AlreadyBegun, Generation, HandedOver, Stop
from services.generator.providers.registry import Registry
from services.generator.slots import Slots, keep_in_progress
from services.generator.titles import Titles
from shared.domain import subjects
from shared.domain.errors import LogFull, LogUnavailable, SequenceConflict, TailLost, UnspoolError
from shared.domain.events import (
    AnswerRequested,
    CancelRequested,
    ChatDeleted,
    MessageRequested,
    encode,
)
from shared.domain.subjects import AnswerId
from shared.log.follower import Follower
from shared.log.protocol import Delivery, Log
from shared.log.recorded import Recorded, Unknown
from shared.logging import bind, logger
from shared.settings import Settings
from shared.tasks import cancel_and_wait

log = logger(__name__)


class Worker:
    """The worker of one process, which owns it. `id` is unique to the process, so that no event of another looks like its own."""

    def __init__(self, log_: Log, registry: Registry, settings: Settings) -> None:
        self.id = str(uuid4())
        self._log = log_
        self._registry = registry
        self._settings = settings
        self._running: dict[AnswerId, tuple[Generation, Delivery]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = Slots(settings.answers_in_flight_max)
        self._stopping = asyncio.Event()
        log_.on_reconnect(self._log_is_back)

    async def serve(self) -> None:
        """Works until `stop`, then hands over its answers within `shutdown_seconds`."""
        await self._log.listen(subjects.worker(self.id), self._answer_question)
        stops = Follower(self._log, subjects.CHATS, self._handle_stop, self._settings, filters=subjects.STOPS)
        heartbeats = keep_in_progress(self._list_deliveries, self._settings.heartbeat_seconds)
        beside = [stops.run(), heartbeats, self._announce()]
        if self._settings.titles:
            beside.append(Titles(self._log, self._registry, self._settings).run())
        side = [asyncio.create_task(task) for task in beside]
        pull = asyncio.create_task(self._pull())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([pull, stopping, *side], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(pull, stopping)
            await self._hand_over()
            await cancel_and_wait(*side)
        for task in (pull, *side):
            if not task.cancelled() and (error := task.exception()):
                raise error

    def stop(self) -> None:
        self._stopping.set()

    @property
    def in_flight(self) -> int:
        return len(self._running)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def _log_is_back(self) -> None:
        for generation, _ in self._running.values():
            generation.doubtful = generation.writer.doubtful = True

    # --- taking requests ---------------------------------------------------------------------------

    async def _pull(self) -> None:
        async with contextlib.aclosing(
            self._log.requests(subjects.GENERATORS, self._slots.wait_for_room)
        ) as requests:
            async for delivery in requests:
                await self._take(delivery)

    async def _take(self, delivery: Delivery) -> None:
        request = delivery.recorded.event
        if isinstance(request, Unknown):
            # Leave it in the queue: a newer generator may know it. It does not block other requests.
            log.error("undecodable-request", sequence=delivery.recorded.sequence, reason=request.reason)
            await delivery.nak(self._settings.ack_wait_seconds)
            return
        if not isinstance(request, MessageRequested | AnswerRequested):
            await delivery.ack()
            return
        if request.answer in self._running:
            # Redelivered while it is in work, after the broker was away: acknowledge the newest delivery.
            self._running[request.answer] = (self._running[request.answer][0], delivery)
            return
        await self._slots.take()
        generation = Generation(
            request,
            delivery.recorded.sequence,
            log_=self._log,
            registry=self._registry,
            settings=self._settings,
            worker=self.id,
        )
        self._running[request.answer] = (generation, delivery)
        task = asyncio.create_task(self._make(generation, delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _make(self, generation: Generation, delivery: Delivery) -> None:
        answer = generation.request.answer
        bind(**generation.log_fields)
        try:
            if not await self._run_as_first(generation, delivery):
                if await self._somebody_has_it(generation):
                    log.info("still-alive", **generation.log_fields)
                    return
                await generation.run()
            await _acknowledge(generation, self._running[answer][1])
        except HandedOver:
            log.info("handed-over", **generation.log_fields)
            metrics.HANDED_OVER.inc()
            await self._running[answer][1].nak()
        except (SequenceConflict, TailLost) as error:
            log.warning("fenced", **generation.log_fields, reason=str(error))
            metrics.FENCED.inc()
        except (LogUnavailable, LogFull) as error:
            # Do not acknowledge: the request is redelivered when the broker is back.
            log.warning("gave-up-for-now", **generation.log_fields, reason=str(error))
        except Exception:
            # The request is redelivered and counts as a crash there. It does not block the queue.
            log.exception("generation-crashed", **generation.log_fields)
            metrics.CRASHES.inc()
            if delivery.delivered >= self._settings.attempts_max:
                await self._give_up(generation, delivery)
        finally:
            del self._running[answer]
            self._slots.release()

    async def _run_as_first(self, generation: Generation, delivery: Delivery) -> bool:
        """Generates the answer of a first delivery. Returns False if it may have been begun before."""
        if delivery.delivered > 1:
            return False
        try:
            await generation.run_as_first()
        except AlreadyBegun:
            return False
        return True

    async def _give_up(self, generation: Generation, delivery: Delivery) -> None:
        try:
            await generation.give_up()
            await _acknowledge(generation, delivery)
        except Exception:
            log.exception("could-not-end", **generation.log_fields)

    async def _somebody_has_it(self, generation: Generation) -> bool:
        """Asks the worker that began the answer, and returns True if it still has it.

        After an outage of the broker all workers are alive, and no answer needs a takeover. It asks at first deliveries
        too, if another worker has begun: this process may have been suspended since.
        """
        await generation.writer.load_once()
        state = generation.writer.state
        if not state.under_way or state.worker == self.id:
            return False
        question = generation.request.answer
        # No reply: that worker has stopped or hangs. The fence makes a takeover safe.
        with contextlib.suppress(LogUnavailable):
            reply = await self._log.ask(
                subjects.worker(state.worker), question, self._settings.question_timeout_seconds
            )
            return reply == "yes"
        return False

    def _answer_question(self, answer: str) -> str:
        return "yes" if answer in self._running and not self._stopping.is_set() else "no"

    # --- what runs beside ----------------------------------------------------------------------------

    def _list_deliveries(self) -> list[Delivery]:
        return [delivery for _, delivery in self._running.values()]

    def _handle_stop(self, recorded: Recorded) -> None:
        match recorded.event:
            case CancelRequested(answer=answer):
                if running := self._running.get(answer):
                    running[0].stop(Stop.CANCELLED)
            case ChatDeleted(chat=chat):
                for generation, _ in list(self._running.values()):
                    if generation.request.chat == chat:
                        generation.stop(Stop.DELETED)
            case _:
                pass

    async def _announce(self) -> None:
        """Publishes the models for the API at intervals, because a provider may start later."""
        while True:
            for catalogue in await self._registry.list_catalogues():
                with contextlib.suppress(UnspoolError):
                    await self._log.publish_latest(subjects.catalogue(catalogue.provider), encode(catalogue))
            await asyncio.sleep(self._settings.catalogue_refresh_seconds)

    async def _hand_over(self) -> None:
        for generation, _ in list(self._running.values()):
            generation.stop(Stop.HANDED_OVER)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._settings.shutdown_seconds)
            await cancel_and_wait(*late)


async def _acknowledge(generation: Generation, delivery: Delivery) -> None:
    """Acknowledges a request unless the log lost it: another request may have its sequence by now."""
    if await generation.is_requested_at(delivery.recorded.sequence):
        await delivery.ack()
