"""Bugs that the simulation has found, each as a scene: their seeds now produce other runs."""

from typing import Any

import pytest

from services.api.commands.chat_states import ChatStates
from services.api.read_model import projector
from services.api.read_model.checkpoint import ProjectorStopped, read_checkpoint
from services.api.read_model.migrations import SCHEMA_VERSION
from services.api.read_model.projector import Projector
from services.api.read_model.queries import Reads
from services.api.read_model.statements import LIVE
from shared.domain import subjects
from shared.domain.chat import ChatState
from shared.domain.errors import LogUnavailable
from shared.domain.events import (
    ChatDeleted,
    ChatRenamed,
    GenerationHandedOver,
    GenerationStarted,
    TokenEmitted,
)
from tests.simulation.loop import Process
from tests.simulation.operator import rebuilt
from tests.simulation.postgres import SimPool
from tests.simulation.processes import SimApi, SimWorker
from tests.simulation.scenes import Stage, play
from tests.support import examples

OTHER_CHAT = subjects.ChatId(examples.local(7))


def test_a_worker_that_is_stopped_before_the_providers_first_step_hands_its_answer_over() -> None:
    async def scene(stage: Stage) -> None:
        worker = SimWorker(stage.machine, "worker")
        stored: list[object] = []

        def stop_at_the_beginning(event: object) -> None:
            stored.append(event)
            if isinstance(event, GenerationStarted):
                worker.worker.stop()

        stage.on_stored = stop_at_the_beginning
        stage.ask()
        await stage.until(lambda: any(isinstance(event, GenerationHandedOver) for event in stored))

    play(scene)


def test_done_comes_also_on_a_replica_that_started_after_the_end() -> None:
    async def scene(stage: Stage) -> None:
        SimWorker(stage.machine, "worker")
        first = SimApi(stage.machine, "first")
        answer = stage.ask()
        await stage.wait_for_end(answer)
        await first.here.reads.wait_for(subjects.Sequence(3))
        later = SimApi(stage.machine, "later")
        await stage.caught_up(later)
        shown = stage.shown(answer)
        assert await stage.read(later, shown) == "end"
        assert shown.done is not None

    play(scene)


def test_a_projector_that_takes_turns_with_another_sees_no_lost_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(stage: Stage) -> None:
        tables = stage.machine.postgres.tables
        pool: Any = SimPool(stage.machine.postgres, process := Process("second"))
        second = Projector(stage.machine.log_of(process), pool, stage.machine.settings)
        stage.append(examples.chat_created())
        tables.execute("begin", ("the only one", SCHEMA_VERSION))

        async def while_the_first_goes_on(connection: Any, schema: str) -> Any:
            if stage.broker.position(subjects.CHATS).last == 1:
                stage.append(examples.chat_renamed())
                tables.execute("advance", (0, 2, "the only one", ""))
            return await read_checkpoint(connection, schema)

        monkeypatch.setattr(projector, "read_checkpoint", while_the_first_goes_on)
        checkpoint = await second._checkpoint(LIVE)
        assert checkpoint.position == 2

    play(scene)


def test_a_replica_that_is_behind_a_client_says_so_and_takes_nothing_back() -> None:
    async def scene(stage: Stage) -> None:
        SimWorker(stage.machine, "worker")
        ahead, behind = SimApi(stage.machine, "ahead"), SimApi(stage.machine, "behind")
        for api in (ahead, behind):
            await stage.caught_up(api)

        def deaf_after_two(event: object) -> None:
            if isinstance(event, TokenEmitted) and event.index == 2:
                for push in stage.broker.pushes:
                    push.gone = push.gone or push.process is behind.process

        stage.on_stored = deaf_after_two
        stage.machine.moods.pace_seconds = 0.5
        shown = stage.shown(stage.ask(tokens=12))
        while shown.index < 4:
            await stage.read(ahead, shown, bytes_max=300)
        text = shown.text
        assert isinstance(await stage.read(behind, shown), LogUnavailable)
        assert shown.text == text
        while shown.done is None:  # it notices its silent feed, and begins another
            await stage.read(behind, shown)

    play(scene)


def test_what_the_log_lost_is_not_acknowledged_for_another_request_may_have_its_sequence() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.moods.pace_seconds = 0.5
        SimWorker(stage.machine, "worker")
        lost = stage.checker.answer(stage.ask(1, tokens=3))
        await stage.until(lambda: lost.state.attempt)
        stage.lose(subjects.CHATS, subjects.TOKENS)
        other = stage.ask(
            2, tokens=12
        )  # at the same sequence; the checker sees an acknowledgement before its end
        await stage.wait_for_end(other)

    play(scene)


def test_an_end_does_not_follow_another_question_that_has_the_lost_ones_sequence() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.moods.pace_seconds = 0.5
        SimWorker(stage.machine, "worker")
        lost = stage.checker.answer(stage.ask(tokens=3))
        await stage.until(lambda: lost.state.attempt)
        stage.lose(subjects.CHATS, subjects.TOKENS)
        other = stage.ask(tokens=12, question=2)  # the checker sees an end that nobody asked for
        await stage.wait_for_end(other)

    play(scene)


def test_a_worker_does_not_go_on_after_anothers_event_that_has_its_lost_ones_sequence() -> None:
    async def scene(stage: Stage) -> None:
        stage.machine.moods.pace_seconds = 0.5
        first = SimWorker(stage.machine, "first")
        answer = stage.checker.answer(stage.ask())
        await stage.until(lambda: answer.state.attempt)
        request = stage.broker.streams[subjects.CHATS].messages[subjects.Sequence(2)]
        stage.machine.loop.freeze(first.process)
        stage.lose(subjects.TOKENS)
        SimWorker(stage.machine, "second")
        stage.broker.queues["generators"].nak(request.sequence, 0)
        await stage.until(lambda: answer.state.attempt)
        before = len(stage.machine.trace.lines)
        stage.machine.loop.thaw(first.process)
        await stage.wait_for_end(answer.id)
        assert not [line for line in stage.machine.trace.lines[before:] if "first        stores" in line]

    play(scene)


def test_rows_of_what_the_log_lost_are_not_believed_though_it_has_grown_since() -> None:
    async def scene(stage: Stage) -> None:
        first = SimApi(stage.machine, "first")
        stage.append(examples.chat_created())
        await first.here.reads.wait_for(subjects.Sequence(1))
        stage.machine.loop.kill(first.process)
        stage.lose(subjects.CHATS, subjects.TOKENS)
        stage.append(examples.chat_created(chat=OTHER_CHAT))
        later = SimApi(stage.machine, "later")
        await stage.caught_up(later)
        assert await later.here.states.get(examples.CHAT) == ChatState(examples.CHAT)

    play(scene)


def test_a_lost_tail_is_seen_also_where_what_took_its_place_was_purged() -> None:
    async def scene(stage: Stage) -> None:
        pool: Any = SimPool(stage.machine.postgres, process := Process("api"))
        second = Projector(stage.machine.log_of(process), pool, stage.machine.settings)
        stage.append(examples.chat_created(), examples.chat_renamed())
        stage.machine.postgres.tables = rebuilt(stage.broker)
        stage.lose(subjects.CHATS)
        stage.append(
            examples.chat_created(chat=OTHER_CHAT),
            ChatRenamed(chat=OTHER_CHAT, owner=examples.OWNER, id="rename", title="another"),
            ChatDeleted(chat=OTHER_CHAT, owner=examples.OWNER, id="delete"),
        )
        stage.broker.purge(subjects.facts(OTHER_CHAT), before=subjects.Sequence(3))
        with pytest.raises(ProjectorStopped):
            await second._checkpoint(LIVE)
        stage.append(
            examples.chat_created(), examples.chat_deleted()
        )  # as if the folded one was purged with it
        with pytest.raises(ProjectorStopped):
            await second._checkpoint(LIVE)

    play(scene)


def test_a_state_from_before_a_replica_followed_the_log_does_not_stay_as_it_was() -> None:
    async def scene(stage: Stage) -> None:
        pool: Any = SimPool(stage.machine.postgres, process := Process("api"))
        log, settings = stage.machine.log_of(process), stage.machine.settings
        states = ChatStates(log, Reads(pool, settings, None), settings)
        stage.append(examples.chat_created())
        assert (await states.get(examples.CHAT)).title is None
        stage.append(examples.chat_renamed("new"))
        stage.machine.postgres.tables = rebuilt(stage.broker)
        await states.start()
        assert (await states.get(examples.CHAT)).title == "new"

    play(scene)
