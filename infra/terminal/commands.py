"""The slash commands of `unspool chat`."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from rich.table import Table
from unspool_client import Chat, Client

from infra.terminal.conversation import Conversation
from infra.terminal.lines import Input
from infra.terminal.printable import printable
from infra.terminal.screen import PROMPT, Screen

LISTED_MAX = 20
HELP = (
    ("/new [TITLE]", "start a new chat"),
    ("/chats", "list the newest chats"),
    ("/open N", "open a chat by its number in /chats or by its id"),
    ("/title TITLE", "set the title of this chat"),
    ("/models", "list all models"),
    ("/model [MODEL]", "set the model for the next messages; without a name, use the default"),
    ("/regenerate [MODEL]", "generate another answer to the last message"),
    ("/help", "show this list"),
    ("/quit", "quit, like Ctrl-D; an answer in generation continues on the server"),
    ("Esc Enter", "insert a new line"),
    ("Ctrl-C", "cancel the answer"),
)


class Commands:
    """Executes slash commands for one conversation. `quit` is set by `/quit`."""

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

    async def execute(self, typed: str) -> None:
        """Executes one line that begins with a slash. Reports unknown commands on the screen; raises `ClientError`."""
        name, _, rest = typed.partition(" ")
        if name in self._known:
            await self._known[name](rest.strip())
        else:
            self._screen.print_problem(f"Unknown command {name}. /help lists all commands.")

    async def open(self, chat: str) -> None:
        """Opens a chat and adds its messages to the input history."""
        for asked in await self._conversation.open(chat):
            self._input.remember(asked)

    async def _new(self, title: str) -> None:
        self._conversation.begin(title or None)
        self._screen.print_line("Your next message starts a new chat.", "dim")

    async def _chats(self, _: str) -> None:
        call = self._client.list_chats(limit=LISTED_MAX, after=self._conversation.cursor)
        page = await self._conversation.wait_for(call)
        self._listed = page.data
        if not self._listed:
            self._screen.print_line("No chats yet.", "dim")
            return
        table = Table(box=None, show_header=False, pad_edge=False)
        for number, chat in enumerate(self._listed, start=1):
            here = PROMPT if chat.id == self._conversation.chat else ""
            state = "answering…" if chat.generating else _when(chat.updated_at)
            table.add_row(here, str(number), printable(chat.title or "(no title yet)"), state)
        self._screen.print_line(table)

    async def _open(self, which: str) -> None:
        if which.isascii() and which.isdigit() and len(which) <= len(str(LISTED_MAX)):
            number = int(which)
            if not 1 <= number <= len(self._listed):
                self._screen.print_problem(f"No chat has the number {number}. /chats lists the chats.")
                return
            which = self._listed[number - 1].id
        if not which:
            self._screen.print_problem("Give a number or an id: /open N. /chats lists the chats.")
            return
        await self.open(which)

    async def _title(self, title: str) -> None:
        if title:
            await self._conversation.rename(title)
        else:
            self._screen.print_line(self._conversation.title or "(no title yet)")

    async def _models(self, _: str) -> None:
        for model in await self._conversation.wait_for(self._client.models()):
            self._screen.print_line(model.id, "bold" if model.id == self._conversation.model else "")

    async def _model(self, model: str) -> None:
        self._conversation.model = model or None

    async def _regenerate(self, model: str) -> None:
        await self._conversation.regenerate(model or None)

    async def _help(self, _: str) -> None:
        table = Table(box=None, show_header=False, pad_edge=False)
        for name, what in HELP:
            table.add_row(name, what)
        self._screen.print_line(table)

    async def _quit(self, _: str) -> None:
        self.quit = True


def _when(time: datetime | None) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M}" if time else ""
