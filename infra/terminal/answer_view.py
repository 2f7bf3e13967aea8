"""Shows one answer: streamed to a terminal, or written as a whole where text cannot be erased."""

from typing import assert_never

from unspool_client import (
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

from infra.terminal.screen import Screen

RECONNECTING = "reconnecting…"
QUEUED = "waiting for a generator…"
BEGUN_ANEW = "[restarted]"
REASONING_STYLE = "dim italic"


class AnswerView:
    """Shows the events of one answer on a screen."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._transcript = Transcript()
        self._reasoned = False
        self._waiting_for = ""

    def apply(self, event: StreamEvent) -> None:
        """Shows one event. Expects the events in order."""
        text, reasoning = "", ""
        if isinstance(event, Snapshot):  # join the text only when needed
            text, reasoning = self._transcript.text, self._transcript.reasoning
        self._transcript.apply(event)
        match event:
            case Token():
                self._append(event.reasoning, event.text)
            case Snapshot():
                self._replace(reasoning, text)
            case Reset():
                self._note(BEGUN_ANEW)
            case Done():
                self._end(event)
            case Started():
                self._wait_for(f"{event.model or 'the model'} is thinking…")
            case _:
                assert_never(event)

    def show_connection(self, connection: Connection) -> None:
        """Shows or removes the status about a lost connection."""
        if isinstance(connection, Interrupted):
            self._screen.set_status(RECONNECTING)
        else:
            self._screen.set_status("")
            self._wait_for(self._waiting_for)

    def begin(self) -> None:
        """Announces that the answer waits for a generator. Call it before the first event."""
        self._wait_for(QUEUED)

    def _wait_for(self, what: str) -> None:
        """Announces a status about an answer that has no text yet."""
        self._waiting_for = what
        if what and not (self._transcript.text or self._transcript.reasoning) and self._screen.is_terminal:
            self._screen.announce_status(what)

    def _replace(self, reasoning: str, text: str) -> None:
        """Appends the rest of a snapshot that continues the shown text; otherwise shows all of it again with a note."""
        now = self._transcript
        if not (now.text.startswith(text) and now.reasoning.startswith(reasoning)):
            self._note(BEGUN_ANEW)
            reasoning, text = "", ""
        self._append("" if text else now.reasoning[len(reasoning) :], now.text[len(text) :])

    def _append(self, reasoning: str, text: str) -> None:
        if not self._screen.is_terminal:
            return
        if reasoning:
            self._reasoned = True
            self._screen.append(reasoning, REASONING_STYLE)
        if text:
            if self._reasoned:
                self._reasoned = False
                self._screen.print_line()
            self._screen.append(text)

    def _note(self, text: str) -> None:
        self._reasoned = False
        if self._screen.is_terminal:
            self._screen.print_line(text, "dim")

    def _end(self, done: Done) -> None:
        if not self._screen.is_terminal:
            self._screen.append(self._transcript.text)
        self._screen.start_line()
        if done.status == "failed":
            why = f": {done.error.title} {done.error.detail}".rstrip() if done.error else ""
            self._screen.print_problem(f"[failed{why}]")
        elif done.status == "cancelled":
            self._note("[cancelled]")
        elif done.finish_reason not in {"", "stop"}:
            self._note(f"[ended: {done.finish_reason}]")
