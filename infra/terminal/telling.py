"""One answer as it is shown: streamed to a terminal, or written whole where what was written cannot be taken back."""

from typing import assert_never

from infra.terminal.screen import Screen
from shared.client import (
    Connection,
    Done,
    Interrupted,
    Reset,
    Snapshot,
    Started,
    StreamEvent,
    Token,
    Transcript,
)

RECONNECTING = "reconnecting…"
BEGUN_ANEW = "[begun anew]"
REASONING_STYLE = "dim italic"


class Telling:
    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._transcript = Transcript()
        self._reasoned = False

    def apply(self, event: StreamEvent) -> None:
        text, reasoning = "", ""
        if isinstance(event, Snapshot):  # joined only where it matters
            text, reasoning = self._transcript.text, self._transcript.reasoning
        self._transcript.apply(event)
        match event:
            case Token():
                self._more(event.reasoning, event.text)
            case Snapshot():
                self._replaced(reasoning, text)
            case Reset():
                self._note(BEGUN_ANEW)
            case Done():
                self._end(event)
            case Started():
                pass
            case _:
                assert_never(event)

    def connection(self, connection: Connection) -> None:
        self._screen.status(RECONNECTING if isinstance(connection, Interrupted) else "")

    def _replaced(self, reasoning: str, text: str) -> None:
        """What goes on from what was shown is shown on; something else is shown anew, and said to be so."""
        now = self._transcript
        if not (now.text.startswith(text) and now.reasoning.startswith(reasoning)):
            self._note(BEGUN_ANEW)
            reasoning, text = "", ""
        self._more("" if text else now.reasoning[len(reasoning) :], now.text[len(text) :])

    def _more(self, reasoning: str, text: str) -> None:
        if not self._screen.is_terminal:
            return
        if reasoning:
            self._reasoned = True
            self._screen.stream(reasoning, REASONING_STYLE)
        if text:
            if self._reasoned:
                self._reasoned = False
                self._screen.line()
            self._screen.stream(text)

    def _note(self, text: str) -> None:
        self._reasoned = False
        if self._screen.is_terminal:
            self._screen.line(text, "dim")

    def _end(self, done: Done) -> None:
        if not self._screen.is_terminal:
            self._screen.stream(self._transcript.text)
        self._screen.fresh_line()
        if done.status == "failed":
            why = f": {done.error.title} {done.error.detail}".rstrip() if done.error else ""
            self._screen.problem(f"[failed{why}]")
        elif done.status == "cancelled":
            self._note("[cancelled]")
        elif done.finish_reason not in {"", "stop"}:
            self._note(f"[ended: {done.finish_reason}]")
