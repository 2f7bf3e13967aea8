"""The pull of a durable consumer: one subscription for the life of its reader, and as few requests as possible.

A pull request stays with the broker until it is used up or expires, and each message that it delivers costs no further
request. nats-py's `fetch` makes an inbox and up to two requests for each call.
"""

import asyncio
import contextlib
from collections import deque

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.domain.errors import LogUnavailable
from shared.logging import logger

log = logger(__name__)

_LATE_SECONDS = 1.0
"""A request that the broker has not ended so long after its expiry is lost: the broker was away."""


class Pull:
    """Messages of one consumer, at most as many as were asked for. The reader of the queue owns it and closes it."""

    def __init__(self, client: Client, stream: str, durable: str, expires_seconds: float) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._durable = durable
        self._expires_seconds = expires_seconds
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived: deque[Msg] = deque()
        self._changed = asyncio.Event()
        self._asked = 0
        """Messages that the broker may still send for our requests."""
        self._until = 0.0
        self._refused = False

    async def open(self) -> None:
        """Subscribes. Raises NATS' errors."""
        self._subscription = await self._client.subscribe(self._inbox, cb=self._take)

    async def next(self, room: int) -> Msg | None:
        """Returns the next message, or None when none has come for a while. Asks for up to `room` messages.

        Raises `LogUnavailable` if the broker is away or refuses the request.
        """
        if not self._arrived:
            self._changed.clear()  # before the request, whose message may come while it is sent
            await self._ask(room)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._expires_seconds):
                    await self._changed.wait()
        if self._refused:
            self._refused, self._asked = False, 0
            raise LogUnavailable(f"the consumer {self._durable} does not serve requests")
        return self._arrived.popleft() if self._arrived else None

    async def close(self) -> list[Msg]:
        """Unsubscribes and returns the messages that came and were not returned, also those that were on their way."""
        if self._subscription is not None:
            with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
                async with asyncio.timeout(self._expires_seconds):
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
        return list(self._arrived)

    async def _ask(self, room: int) -> None:
        """Sends a request if less than half of the room is asked for."""
        now = asyncio.get_running_loop().time()
        if now > self._until + _LATE_SECONDS:
            self._asked = 0
        if self._asked * 2 > room:
            return
        batch = room - self._asked
        request = {"batch": batch, "expires": int(self._expires_seconds * 1e9)}
        self._asked, self._until = room, now + self._expires_seconds
        try:
            await self._client.publish(self._subject, msgspec.json.encode(request), reply=self._inbox)
        except (nats.errors.Error, OSError) as error:
            self._asked -= batch
            raise LogUnavailable(f"{self._subject}: {error!r}") from error

    async def _take(self, message: Msg) -> None:
        headers = message.headers or {}
        status = headers.get("Status", "")
        match status:
            case "":
                self._asked -= 1
                self._arrived.append(message)
            case "408":  # the request has expired
                self._asked -= int(headers.get("Nats-Pending-Messages", 0))
            case _:  # no responders, a leader that changed, a consumer that is gone: ask again
                log.warning(
                    "requests-refused", durable=self._durable, reason=headers.get("Description", status)
                )
                self._refused = True
        self._asked = max(0, self._asked)
        self._changed.set()
