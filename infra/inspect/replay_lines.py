"""A replay for people: one line per event, and the text of answers as it was streamed."""

from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct
from rich.console import Console
from rich.text import Text

from infra.inspect.describing import name, place, short, words
from infra.inspect.entries import Entry
from infra.terminal.printable import printable
from shared.domain.answer import AnswerState, evolve
from shared.domain.events import (
    AnswerEnded,
    GenerationEnded,
    GenerationHandedOver,
    GenerationReset,
    GenerationStarted,
    MessageRequested,
    TokenEmitted,
)
from shared.domain.subjects import AnswerId, Sequence

MARGIN = "        │ "
EXPIRED = "The answer's tokens have expired. This is the text of its end:"
NOT_THE_SAME = "The stored tokens differ from the text of its end. This is the text of its end:"


class Printer(Protocol):
    """Prints a replay."""

    def show(self, entry: Entry) -> None:
        """Prints one event."""

    def note(self, text: str) -> None:
        """Prints a note that is not an event."""

    def end(self) -> None:
        """Completes the output after the last event."""


class _Run(Struct):
    """Consecutive token events of one answer, shown as text."""

    answer: AnswerId
    first: Entry
    last: Entry
    count: int = 0


class Lines:
    """A `Printer` for a terminal. With `each_token`, every token event is a line of its own."""

    def __init__(self, console: Console, *, each_token: bool) -> None:
        self._console = console
        self._each_token = each_token
        self._answers: dict[AnswerId, AnswerState] = {}
        self._run: _Run | None = None

    def show(self, entry: Entry) -> None:
        """Prints one event, and the text of messages and answers below it."""
        streams = isinstance(entry.event, TokenEmitted) and not self._each_token
        if self._run is not None and not (streams and entry.answer == self._run.answer):
            self.end()
        self._fold(entry)
        if streams and isinstance(entry.event, TokenEmitted):
            self._stream(entry, entry.event)
            return
        self._line(entry, words(entry), "red" if entry.event is None else "")
        match entry.event:
            case MessageRequested():
                self._block("\n".join(part.text for part in entry.event.content))
            case AnswerEnded():
                self._check(entry.event)
            case _:
                pass

    def note(self, text: str) -> None:
        """Prints a note on a line of its own."""
        self.end()
        self._console.print(Text(f"        {printable(text)}", style="yellow"), soft_wrap=True)

    def end(self) -> None:
        """Ends a run of tokens with a line about its number, duration and last position."""
        if self._run is None:
            return
        run, self._run = self._run, None
        seconds = (run.last.stored.time - run.first.stored.time).total_seconds()
        events = "1 event" if run.count == 1 else f"{run.count} events"
        up_to = f"up to {place(run.last.event)}, sequence {run.last.stored.sequence}"
        self._console.out()
        self._console.out(f"        └ {events} in {seconds:.3f} s, {up_to}", style="dim", highlight=False)

    # --- inside --------------------------------------------------------------------------------------------

    def _stream(self, entry: Entry, token: TokenEmitted) -> None:
        if self._run is None:
            self._line(entry, "and following")
            self._run = _Run(token_answer(entry), entry, entry)
            self._console.out(MARGIN, end="", style="dim", highlight=False)
        self._run.last = entry
        self._run.count += 1
        said = token.text or token.reasoning or words(entry)
        style = None if token.text else "dim italic"
        for number, line in enumerate(printable(said).split("\n")):
            if number:
                self._console.out("\n" + MARGIN, end="", style="dim", highlight=False)
            self._console.out(line, end="", style=style, highlight=False)

    def _line(self, entry: Entry, what: str, style: str = "") -> None:
        stored, answer = entry.stored, entry.answer
        line = Text.assemble(
            (f"{entry.stream:<6} {stored.sequence:>8}  ", "dim"),
            f"{timestamp(stored.time)}  ",
            (f"{name(entry):<22}  ", style or "bold"),
            (f"{printable(short(answer)) if answer else '':<8}  ", "cyan"),
            f"{place(entry.event):<8}  ",
            (what, style),
        )
        line.rstrip()
        self._console.print(line, soft_wrap=True)

    def _block(self, text: str) -> None:
        for line in printable(text).split("\n"):
            self._console.print(Text.assemble((MARGIN, "dim"), line), soft_wrap=True)

    def _fold(self, entry: Entry) -> None:
        if isinstance(
            entry.event,
            GenerationStarted | TokenEmitted | GenerationReset | GenerationHandedOver | GenerationEnded,
        ):
            state = self._answers.setdefault(token_answer(entry), AnswerState())
            evolve(state, entry.event, Sequence(entry.stored.sequence))

    def _check(self, end: AnswerEnded) -> None:
        """Prints the text of the end if it differs from the text of the tokens."""
        state = self._answers.pop(end.answer, None)
        if state is not None and (state.whole_text, state.whole_reasoning) == (end.text, end.reasoning):
            return
        if state is None and not end.last_index:
            return  # The answer has no tokens.
        self.note(EXPIRED if state is None else NOT_THE_SAME)
        if end.reasoning:
            self._block(end.reasoning)
        self._block(end.text)


def token_answer(entry: Entry) -> AnswerId:
    """Returns the answer of an event of TOKENS."""
    assert entry.answer is not None  # noqa: S101 - every event of TOKENS is on an answer's subject
    return entry.answer


def timestamp(time: datetime) -> str:
    """Returns the time in UTC with milliseconds, in ISO 8601."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
