"""Route of the feed: the events of an owner's chats."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api import metrics
from services.api.http.dependencies import Context, InjectedContext, Owner
from services.api.http.event_stream import EventStream
from services.api.http.openapi import responses
from services.api.http.parameters import AfterFeedEvent, LastFeedEvent, parse_last_event
from services.api.http.routes_chats import parse_chat_id
from services.api.streaming import sse
from services.api.streaming.streams import StreamBroken
from shared.domain.chat import ChatState, check_exists
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence

router = APIRouter(prefix="/v1", tags=["events"])


@router.get(
    "/events",
    summary="Follow chats",
    response_class=EventStream,
    responses=responses.EVENTS,
)
async def events(
    context: InjectedContext,
    owner: Owner,
    chat: Annotated[str | None, Query(description="Only this chat.")] = None,
    last_event_id: LastFeedEvent = None,
    after: AfterFeedEvent = None,
) -> Response:
    """Streams the events of the caller's chats, or of one chat: from now, or from the event after `Last-Event-ID`.

    Event names: `chat-created`, `message-requested`, `answer-started`, `answer-completed`, `answer-failed`,
    `answer-cancelled`, `title-generated`, `chat-renamed`, `chat-archived`, `chat-deleted`, ...
    `reload` means that the cursor is too old: load the list again, then continue with this stream.
    The stream has no end: when the connection closes, connect again.
    """
    cursor = parse_last_event(last_event_id or after, sse.parse_facts_cursor, example="c57")
    only = None
    if chat is not None:
        only = parse_chat_id(chat)
        state: ChatState = await context.states.get(only)
        check_exists(state if state.exists else await context.states.fresh(only), owner)
    first = sse.preamble(context.settings.client_retry_milliseconds)
    return EventStream(first, _watch(context, owner, only, cursor))


async def _watch(
    context: Context, owner: str, chat: str | None, after: Sequence | None
) -> AsyncIterator[bytes]:
    """Yields the frames of the feed. Always ends with `StreamBroken`: the feed has no clean end."""
    try:
        with metrics.FEED_WATCHERS.track_inprogress():
            async for chunk in context.feed.watch(owner, chat, after):
                yield chunk
    except LogUnavailable as error:
        raise StreamBroken(str(error)) from error
    raise StreamBroken("the feed of this process stopped")
