"""Reads the feed of what happens to one's chats, over any number of connections."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unspool_client.decoding import Undecodable, decode
from unspool_client.events import Breach
from unspool_client.servers import Servers
from unspool_client.sse_decoder import Frame
from unspool_client.stream import Connection, ResumingStream

_PATH = "/v1/events"
_RELOAD = "reload"


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """Something happened to a chat. `name` is the event's name, such as `chat-renamed`; `data` are its fields.

    `id` is the cursor to go on from. It is None for `answer-started`, which is told once and not repeated.
    """

    name: str
    chat: str
    id: str | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reload:
    """The server no longer has all events after the cursor: load the list of chats again. The feed goes on after it."""

    id: str


FeedEvent = ChatEvent | Reload


class FeedStream(ResumingStream[FeedEvent]):
    """Reads the feed from a cursor on. It has no end of its own."""

    def __init__(
        self,
        servers: Servers,
        after: str,
        chat: str | None,
        give_up_after_seconds: float | None,
        watch: Callable[[Connection], None] | None,
    ) -> None:
        params = {} if chat is None else {"chat": chat}
        super().__init__(
            servers, _PATH, params=params, give_up_after_seconds=give_up_after_seconds, watch=watch
        )
        self._after = after

    def _cursor(self) -> str | None:
        return self._after

    def _take(self, frame: Frame) -> FeedEvent | None:
        self._after = frame.id or self._after
        if frame.event == _RELOAD:
            return Reload(self._after)
        try:
            data = decode(frame.data, dict[str, Any])
        except Undecodable as error:
            raise Breach(f"an event {frame.event!r} that cannot be read: {error}") from error
        chat = data.get("chat")
        if not isinstance(chat, str):
            raise Breach(f"an event {frame.event!r} of no chat")
        return ChatEvent(frame.event, chat, frame.id, data)
