"""The API process: creates its parts, and starts and stops them in order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import asyncpg
from fastapi import FastAPI

from services.api.commands.catalogue import Catalogue
from services.api.commands.chat_states import ChatStates
from services.api.commands.handler import Commands
from services.api.commands.purge import Leftovers
from services.api.http import (
    example_page,
    problems,
    routes_answers,
    routes_chats,
    routes_events,
    routes_platform,
)
from services.api.http.body_limit import BodyLimit
from services.api.http.dependencies import Context
from services.api.http.openapi import document, swagger_ui
from services.api.http.request_metrics import RequestMetrics
from services.api.read_model.migrations import migrate
from services.api.read_model.orphans import Orphans
from services.api.read_model.pool import make_pool
from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE
from services.api.read_model.projector import Projector
from services.api.read_model.queries import Reads
from services.api.read_model.rebuild import make_renew
from services.api.scrape_gauges import ScrapeGauges
from services.api.streaming.answer_times import AnswerTimes
from services.api.streaming.feed import Feed
from services.api.streaming.hot_log import HotLog
from services.api.streaming.streams import Streams
from shared.domain import subjects
from shared.domain.events import (
    AnswerEnded,
    ChatDeleted,
)
from shared.domain.subjects import AnswerId, Sequence
from shared.log.event_log import EventLog
from shared.log.follower import Follower
from shared.log.protocol import Log
from shared.log.recorded import Recorded
from shared.logging import logger
from shared.settings import Settings
from shared.tasks import cancel_and_wait
from shared.version import VERSION

log = logger(__name__)


def make_app(settings: Settings, context: Context | None = None) -> FastAPI:
    """Returns the app with all routes. Without `context` only the OpenAPI document works."""
    app = FastAPI(
        title="Unspool",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    problems.install(app)
    document.install(app, settings)
    swagger_ui.install(app)
    example_page.install(app)
    for router in (routes_chats.router, routes_answers.router, routes_events.router, routes_platform.router):
        app.include_router(router)
    app.add_middleware(BodyLimit, max_bytes=settings.body_max_bytes)
    app.add_middleware(RequestMetrics)  # the outermost: it counts what others reject
    return app


@contextlib.asynccontextmanager
async def open_context(settings: Settings, failed: Callable[[], None]) -> AsyncIterator[Context]:
    """Starts all parts behind the routes, yields them, and stops them. Starts also without Postgres.

    Raises `LogUnavailable` if the log cannot be reached. Calls `failed` when a background part ends: the process
    must then be replaced.
    """
    async with contextlib.AsyncExitStack() as stack:
        event_log = await stack.enter_async_context(EventLog.open(settings, "unspool-api"))
        pool = make_pool(settings)
        stack.callback(pool.terminate)
        await pool
        await event_log.ensure()
        # Postgres may come later: then the projector makes the tables.
        with contextlib.suppress(*POSTGRES_UNAVAILABLE):
            async with pool.acquire() as connection:
                await migrate(connection)
        context = _make_context(settings, event_log, pool)
        parts = [
            context.facts_follower.run(),
            context.tokens_follower.run(),
            context.hot_log.fill(),
            context.leftovers.run(),
        ]
        if context.projector is not None:
            parts.append(context.projector.run())
            parts.append(Orphans(event_log, context.reads, context.projector, settings).run())
        tasks = [asyncio.create_task(_run_part(part, failed)) for part in parts]
        stack.push_async_callback(cancel_and_wait, *tasks)
        yield context


async def _run_part(part: Coroutine[Any, Any, None], failed: Callable[[], None]) -> None:
    try:
        await part
    except Exception:
        log.exception("part-failed")
    failed()


def _make_context(settings: Settings, event_log: Log, pool: asyncpg.Pool) -> Context:
    def followed(sequence: Sequence, most: int) -> list[Recorded] | None:
        return states.followed_after(sequence, most) if facts_follower.is_sound else None

    projector = (
        Projector(event_log, pool, settings, make_renew(event_log, settings), followed)
        if settings.projector
        else None
    )
    reads = Reads(pool, settings, projector)
    states = ChatStates(event_log, reads, settings)
    hot_log = HotLog(event_log, settings)
    feed = Feed(event_log, settings)
    times = AnswerTimes()

    def prepare_hot_answer(answer: AnswerId) -> None:
        if tokens_follower.has_begun:
            hot_log.begin(answer)

    commands = Commands(event_log, states, settings, prepare_hot_answer)
    leftovers = Leftovers(commands, states.is_deleted, settings)

    def handle_fact(recorded: Recorded) -> None:
        if projector is not None:
            projector.news()
        states.follow(recorded)
        feed.follow(recorded)
        times.follow(recorded)
        match recorded.event:
            case AnswerEnded() as end:
                hot_log.record_end(end, recorded.sequence)
            case ChatDeleted(chat=chat):
                hot_log.drop_chat(chat)
                leftovers.follow_deletion(chat)
            case _:
                pass

    def reset_views() -> None:
        states.reset()
        hot_log.drop_all()
        feed.reset()

    def handle_token(recorded: Recorded) -> None:
        hot_log.follow_tokens(recorded)
        feed.follow_tokens(recorded)
        leftovers.follow_tokens(recorded)
        times.follow_tokens(recorded)

    streams = Streams(event_log, hot_log, states, settings)
    facts_follower = Follower(
        event_log, subjects.CHATS, handle_fact, settings, start=states.start, rewound=reset_views
    )
    tokens_follower = Follower(event_log, subjects.TOKENS, handle_token, settings, rewound=hot_log.drop_all)
    return Context(
        settings=settings,
        log=event_log,
        reads=reads,
        states=states,
        commands=commands,
        hot_log=hot_log,
        leftovers=leftovers,
        feed=feed,
        streams=streams,
        catalogue=Catalogue(event_log, settings),
        facts_follower=facts_follower,
        tokens_follower=tokens_follower,
        projector=projector,
        scrape_gauges=ScrapeGauges(
            settings,
            log_=event_log,
            reads=reads,
            projector=projector,
            hot_log=hot_log,
            streams=streams,
            followers={subjects.CHATS: facts_follower, subjects.TOKENS: tokens_follower},
        ),
    )
