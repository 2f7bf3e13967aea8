"""`unspool chats`: lists the newest chats of a running API."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from unspool_client import Chat, Client, ClientError, Patience, Unauthorized

from infra.terminal.client_errors import translate_client_errors
from infra.terminal.durations import describe_age
from infra.terminal.printable import escape_json, printable
from infra.terminal.program import suggest

CALL_SECONDS = 5.0
PAGE_MAX = 200


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options."""

    urls: Sequence[str]
    api_key: str
    limit: int
    as_json: bool = False


def main(options: Options) -> int:
    """Prints a line for each chat, the newest activity first. Raises `UnspoolError`."""
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # the terminal's encoding may lack characters
    with translate_client_errors():
        chats = asyncio.run(_read(options))
    if options.as_json:
        data = [msgspec.to_builtins(chat) for chat in chats]
        for one in data:
            del one["messages"]  # a list has none
        print(escape_json(msgspec.json.encode({"data": data}).decode()))
    elif not chats:
        print(f"There are no chats yet. Begin one with: {suggest('chat')}", file=sys.stderr)
    for line in [] if options.as_json else describe(chats, datetime.now(UTC)):
        print(line)
    return 0


async def _read(options: Options) -> list[Chat]:
    found: list[Chat] = []
    before: str | None = None
    patience = Patience(call_seconds=CALL_SECONDS)
    async with Client(options.urls, options.api_key or None, patience=patience) as client:
        while len(found) < options.limit:
            limit = min(PAGE_MAX, options.limit - len(found))
            try:
                page = await client.list_chats(limit=limit, before=before)
            except Unauthorized as error:
                raise ClientError(f"{error} Set UNSPOOL_API_KEY.") from error
            found += page.data
            before = page.next
            if before is None:
                break
    return found


def describe(chats: Sequence[Chat], now: datetime) -> list[str]:
    """Returns a line for each chat: id, age of its last activity, state, title."""
    return [
        printable(
            f"{chat.id}  {describe_age(chat.updated_at, now):>7}  {_state(chat):<10}  "
            f"{' '.join((chat.title or '(no title yet)').split())}"
        )
        for chat in chats
    ]


def _state(chat: Chat) -> str:
    if chat.generating:
        return "answering"
    return "archived" if chat.archived else "idle"
