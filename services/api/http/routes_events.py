"""The feed of one's chats over HTTP."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.api import metrics
from services.api.http.dependencies import Context, Here, Owner
from services.api.http.event_stream import EventStream
from services.api.http.openapi import responses
from services.api.http.parameters import AfterFeedEvent, LastFeedEvent
from services.api.http.problems import Refused
from services.api.http.routes_chats import chat_id
from services.api.streaming import sse
from services.api.streaming.streams import StreamBroken
from shared.domain.chat import ChatState, check_exists
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence

router = APIRouter(prefix="/v1", tags=["events"])


@router.get(
    "/events",
    summary="Follow one's chats",
    response_class=EventStream,
    responses=responses.EVENTS,
)
async def events(
    here: Here,
    owner: Owner,
    chat: Annotated[str | None, Query(description="Only this chat.")] = None,
    last_event_id: LastFeedEvent = None,
    after: AfterFeedEvent = None,
) -> Response:
    """What happens to all one's chats, or to one: from now, or from the event after `Last-Event-ID`.

    An event's name is the fact's: `chat-created`, `message-requested`, `answer-started`, `answer-completed`,
    `answer-failed`, `answer-cancelled`, `title-generated`, `chat-renamed`, `chat-archived`, `chat-deleted`, ...
    `reload`: the cursor is too old; load the list anew and go on from here. A close means: connect again.
    """
    cursor = _parsed(last_event_id or after)
    only = None
    if chat is not None:
        only = chat_id(chat)
        state: ChatState = await here.states.get(only)
        check_exists(state if state.exists else await here.states.fresh(only), owner)
    first = sse.preamble(here.settings.client_retry_milliseconds)
    return EventStream(first, _watched(here, owner, only, cursor))


def _parsed(text: str | None) -> Sequence | None:
    if not text:
        return None
    cursor = sse.parse_facts_cursor(text)
    if cursor is None:
        raise Refused("bad-cursor", "It is the id of an event of this feed, such as c57.")
    return cursor


async def _watched(
    here: Context, owner: str, chat: str | None, after: Sequence | None
) -> AsyncIterator[bytes]:
    """The feed has no end of its own: whatever ends it is a broken connection, and a reason to come again."""
    try:
        with metrics.FEED_WATCHERS.track_inprogress():
            async for chunk in here.feed.watch(owner, chat, after):
                yield chunk
    except LogUnavailable as error:
        raise StreamBroken(str(error)) from error
    raise StreamBroken("the feed of this process is void")
