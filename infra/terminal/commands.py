"""What begins with a slash."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from rich.table import Table

from infra.terminal.conversation import Conversation
from infra.terminal.lines import Input
from infra.terminal.screen import PROMPT, Screen, printable
from shared.client import Chat, Client

LISTED_MAX = 20
HELP = (
    ("/new [TITLE]", "begin another chat"),
    ("/chats", "the newest chats"),
    ("/open N", "open one of them, by its number or its id"),
    ("/title TITLE", "give this chat a title"),
    ("/models", "which models there are"),
    ("/model [MODEL]", "what answers from now on; without a name, what the chat or the server has"),
    ("/regenerate [MODEL]", "another answer to the same question"),
    ("/help", "this list"),
    ("/quit", "leave, as Ctrl-D does; an answer that is being made goes on"),
    ("Esc Enter", "a new line in the message"),
    ("Ctrl-C", "cancel the answer"),
)


class Commands:
    def __init__(self, client: Client, conversation: Conversation, screen: Screen, input_: Input) -> None:
        self._client = client
        self._conversation = conversation
        self._screen = screen
        self._input = input_
        self._listed: tuple[Chat, ...] = ()
        self.quit = False
        self._known: Mapping[str, Callable[[str], Awaitable[None]]] = {
            "/new": self._new,
            "/chats": self._chats,
            "/open": self._open,
            "/title": self._title,
            "/models": self._models,
            "/model": self._model,
            "/regenerate": self._regenerate,
            "/help": self._help,
            "/quit": self._quit,
        }

    async def obey(self, typed: str) -> None:
        name, _, rest = typed.partition(" ")
        if name in self._known:
            await self._known[name](rest.strip())
        else:
            self._screen.problem(f"There is no {name}: /help lists what there is.")

    async def open(self, chat: str) -> None:
        for asked in await self._conversation.open(chat):
            self._input.remember(asked)

    async def _new(self, title: str) -> None:
        self._conversation.begin(title or None)
        self._screen.line("A new chat begins with your next message.", "dim")

    async def _chats(self, _: str) -> None:
        call = self._client.list_chats(limit=LISTED_MAX, after=self._conversation.cursor)
        page = await self._conversation.waited_for(call)
        self._listed = page.data
        if not self._listed:
            self._screen.line("There are no chats yet.", "dim")
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        for number, chat in enumerate(self._listed, start=1):
            here = PROMPT if chat.id == self._conversation.chat else ""
            state = "answering…" if chat.generating else _when(chat.updated_at)
            table.add_row(here, str(number), printable(chat.title or "(no title yet)"), state)
        self._screen.line(table)

    async def _open(self, which: str) -> None:
        if which.isascii() and which.isdigit() and len(which) <= len(str(LISTED_MAX)):
            number = int(which)
            if not 1 <= number <= len(self._listed):
                self._screen.problem(f"There is no number {number}: /chats lists what there is.")
                return
            which = self._listed[number - 1].id
        if not which:
            self._screen.problem("Which one? /open N, as in /chats.")
            return
        await self.open(which)

    async def _title(self, title: str) -> None:
        if title:
            await self._conversation.rename(title)
        else:
            self._screen.line(self._conversation.title or "(no title yet)")

    async def _models(self, _: str) -> None:
        for model in await self._conversation.waited_for(self._client.models()):
            self._screen.line(model.id, "bold" if model.id == self._conversation.model else "")

    async def _model(self, model: str) -> None:
        self._conversation.model = model or None

    async def _regenerate(self, model: str) -> None:
        await self._conversation.regenerate(model or None)

    async def _help(self, _: str) -> None:
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, what in HELP:
            table.add_row(name, what)
        self._screen.line(table)

    async def _quit(self, _: str) -> None:
        self.quit = True


def _when(time: datetime | None) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}" if time else ""
