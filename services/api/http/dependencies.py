"""Dependencies of the routes: the objects that one process shares, and the authenticated caller."""

import hmac
from typing import Annotated

from fastapi import Depends, Request
from msgspec import Struct

from services.api.commands.catalogue import Catalogue
from services.api.commands.chat_states import ChatStates
from services.api.commands.handler import Commands
from services.api.commands.purge import Leftovers
from services.api.http.problems import NoKey
from services.api.read_model.projector import Projector
from services.api.read_model.queries import Reads
from services.api.scrape_gauges import ScrapeGauges
from services.api.streaming.feed import Feed
from services.api.streaming.hot_log import HotLog
from services.api.streaming.streams import Streams
from shared.log.follower import Follower
from shared.log.protocol import Log
from shared.settings import Settings


class Context(Struct, kw_only=True):
    """The objects that all routes share. `services/api/app.py` creates and closes them, once per process."""

    settings: Settings
    log: Log
    reads: Reads
    states: ChatStates
    commands: Commands
    hot_log: HotLog
    leftovers: Leftovers
    feed: Feed
    streams: Streams
    catalogue: Catalogue
    facts_follower: Follower
    tokens_follower: Follower
    projector: Projector | None
    scrape_gauges: ScrapeGauges
    closing: bool = False


async def get_context(request: Request) -> Context:
    """Returns the objects of this process. A coroutine: FastAPI runs a plain function in a thread, for each request."""
    found: Context = request.app.state.context
    return found


async def authenticate(request: Request) -> str:
    """Returns the owner that the request acts for. Raises `NoKey` if `api_key` is set and the request lacks it."""
    settings = (await get_context(request)).settings
    if settings.api_key:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), settings.api_key.encode()):
            raise NoKey
    return settings.owner


InjectedContext = Annotated[Context, Depends(get_context)]
Owner = Annotated[str, Depends(authenticate)]
