"""The typed calls of a client."""

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from enum import Enum
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx

from unspool_client.decoding import Undecodable, decode
from unspool_client.documents import Accepted, Answer, Chat, ChatPage, Model, Models
from unspool_client.errors import ContractBroken
from unspool_client.events import StreamEvent
from unspool_client.feed import FeedEvent, FeedStream
from unspool_client.patience import Patience
from unspool_client.servers import Servers
from unspool_client.stream import AnswerStream, Connection

T = TypeVar("T")


class Newest(Enum):
    """The type of `NEWEST`."""

    NEWEST = "newest"


NEWEST = Newest.NEWEST
"""The default of `parent_id`: the newest answer of the chat, or none if the chat has none."""
Body = dict[str, Any]
CURSOR_MAX_CHARS = 200


class Client:
    """Calls one or several servers of one system. `async with Client(...)` closes it, or `close` does.

    It retries every call until a server responds or `Patience.call_seconds` are over, then raises `Unreachable`.
    Retries are safe: each call has an id, which is chosen once. A rejection by the server is `Refused` or a subclass.
    """

    def __init__(
        self, url: str | Iterable[str], api_key: str | None = None, *, patience: Patience | None = None
    ) -> None:
        """Takes one or several URLs. Raises `ConfigurationError` for an invalid URL or key."""
        urls = [url] if isinstance(url, str) else url
        self._servers = Servers(urls, api_key, patience or Patience())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes all connections."""
        await self._servers.close()

    # --- chats -------------------------------------------------------------------------------------

    async def create_chat(
        self,
        *,
        title: str | None = None,
        model: str | None = None,
        system: str | None = None,
        metadata: Body | None = None,
    ) -> Chat:
        """Creates a chat and returns it."""
        body = {"id": str(uuid4()), "title": title, "model": model, "system": system, "metadata": metadata}
        return _decoded(await self._servers.call("POST", "/v1/chats", _given(body)), Chat)

    async def list_chats(
        self,
        *,
        limit: int = 50,
        before: str | None = None,
        archived: bool = False,
        q: str | None = None,
        after: str | None = None,
    ) -> ChatPage:
        """Returns a page, newest activity first. `q` searches. The page is at least as new as the cursor `after`."""
        query = {
            "limit": str(limit),
            "before": before,
            "archived": str(archived).lower(),
            "q": q,
            "after": after,
        }
        return _decoded(await self._servers.call("GET", "/v1/chats", params=_given(query)), ChatPage)

    async def chat(self, chat: str, *, after: str | None = None) -> Chat:
        """Returns the chat with its messages. It is at least as new as the cursor `after`."""
        response = await self._servers.call("GET", _path("chats", chat), params=_given({"after": after}))
        return _decoded(response, Chat)

    async def change_chat(
        self,
        chat: str,
        *,
        title: str | None = None,
        archived: bool | None = None,
        metadata: Body | None = None,
    ) -> Chat:
        """Changes a chat and returns it. A field that is None does not change."""
        body = {"title": title, "archived": archived, "metadata": metadata}
        return _decoded(await self._servers.call("PATCH", _path("chats", chat), _given(body)), Chat)

    async def delete_chat(self, chat: str) -> None:
        """Deletes a chat for good. Does not raise if it is already deleted."""
        await self._servers.call("DELETE", _path("chats", chat))

    # --- messages and answers ------------------------------------------------------------------------

    async def post(
        self,
        chat: str,
        content: str | list[Body],
        *,
        parent_id: str | Newest | None = NEWEST,
        model: str | None = None,
        params: Body | None = None,
        metadata: Body | None = None,
    ) -> Accepted:
        """Posts a message. `parent_id`: the answer to reply to; unset the newest one, None for a first message."""
        body = {
            "id": str(uuid4()),
            "content": content,
            "model": model,
            "params": params,
            "metadata": metadata,
        }
        parent = {} if isinstance(parent_id, Newest) else {"parent_id": parent_id}
        response = await self._servers.call("POST", _path("chats", chat, "messages"), _given(body) | parent)
        return _decoded(response, Accepted)

    async def ask(
        self,
        chat: str,
        content: str | list[Body],
        **options: Any,  # noqa: ANN401 - those of `post`
    ) -> AsyncGenerator[StreamEvent, None]:
        """Posts a message like `post`, and yields the events of its answer."""
        accepted = await self.post(chat, content, **options)
        async with contextlib.aclosing(self.stream(accepted.answer)) as events:
            async for event in events:
                yield event

    async def regenerate(
        self, answer: str, *, model: str | None = None, params: Body | None = None
    ) -> Accepted:
        """Requests another answer to the same message; the existing answer does not change."""
        body = {"id": str(uuid4()), "model": model, "params": params}
        return _decoded(
            await self._servers.call("POST", _path("answers", answer, "regenerate"), _given(body)), Accepted
        )

    async def cancel(self, answer: str) -> Answer:
        """Stops an answer and keeps its text so far. Does nothing if it has ended."""
        return _decoded(await self._servers.call("POST", _path("answers", answer, "cancel")), Answer)

    async def answer(self, answer: str, *, after: str | None = None) -> Answer:
        """Returns the answer. It is at least as new as the cursor `after`."""
        params = _given({"after": after})
        return _decoded(await self._servers.call("GET", _path("answers", answer), params=params), Answer)

    def stream(
        self,
        answer: str,
        after: str | None = None,
        *,
        give_up_after_seconds: float | None = None,
        watch: Callable[[Connection], None] | None = None,
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yields the answer's events, each once, in order, without a gap, over any number of connections and servers.

        Ends after `Done`, or at once if `after` is the end. It reconnects without a limit, or raises `Unreachable` if
        nothing was received for `give_up_after_seconds`. Calls `watch` at each connection and interruption. If you stop
        early, close the generator (`contextlib.aclosing`).
        """
        cursor = None if after is None else _check_cursor(after)
        return AnswerStream(self._servers, answer, cursor, give_up_after_seconds, watch).events()

    async def events(
        self,
        after: str | None = None,
        *,
        chat: str | None = None,
        give_up_after_seconds: float | None = None,
        watch: Callable[[Connection], None] | None = None,
    ) -> AsyncGenerator[FeedEvent, None]:
        """Yields what happens to the caller's chats, or to one chat, each event once and in order, for ever.

        Starts after a cursor: of a `ChatPage`, or the `id` of an event. Without one it starts now: it takes the cursor
        of the list first, so that no interruption loses an event. Interruptions are as for `stream`. `Reload` means
        that the cursor is too old: load the list again. If you stop early, close the generator
        (`contextlib.aclosing`).
        """
        start = _check_cursor(after) if after is not None else (await self.list_chats(limit=1)).cursor
        stream = FeedStream(self._servers, start, chat, give_up_after_seconds, watch)
        async with contextlib.aclosing(stream.events()) as events:
            async for event in events:
                yield event

    # --- the system --------------------------------------------------------------------------------------

    async def models(self, *, within_seconds: float | None = None) -> tuple[Model, ...]:
        """Returns the models, the default model first."""
        return _decoded(
            await self._servers.call("GET", "/v1/models", within_seconds=within_seconds), Models
        ).data


def _check_cursor(text: str) -> str:
    """Returns a cursor that a header can hold. Raises `ValueError`."""
    if not (text.isascii() and text.isprintable() and len(text) <= CURSOR_MAX_CHARS):
        raise ValueError(f"{text!r} is not a cursor")
    return text


def _path(*parts: str) -> str:
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _decoded(response: httpx.Response, kind: type[T]) -> T:
    try:
        return decode(response.content, kind)
    except Undecodable as error:
        raise ContractBroken(f"{response.url.copy_with(query=None)}: {error}") from error
