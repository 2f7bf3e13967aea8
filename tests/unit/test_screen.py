"""What streams to a terminal, seen through an emulator of one."""

import asyncio
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from unspool_client import Connected, Done, Interrupted, Problem, Reset, Snapshot, Started, Token

from infra.terminal.answer_view import BEGUN_ANEW, QUEUED, RECONNECTING, AnswerView
from infra.terminal.screen import Screen
from tests.support.emulator import Emulator

COLUMNS = 30
LETTERS = st.text(st.sampled_from(["a", "b", " ", "\n", "漢", "é", "😀"]), min_size=1, max_size=50)


class Seen:
    """A screen, and what can be seen on it."""

    def __init__(self, *, terminal: bool = True) -> None:
        self._out, self._errors = io.StringIO(), io.StringIO()
        self.screen = Screen(self._console(self._out, terminal), self._console(self._errors, terminal))

    @staticmethod
    def _console(file: io.StringIO, terminal: bool) -> Console:  # noqa: FBT001
        return Console(
            file=file, force_terminal=terminal, width=COLUMNS, highlight=False, _environ={"TERM": "xterm"}
        )

    @property
    def text(self) -> str:
        return Emulator(COLUMNS).write(self._out.getvalue()).text

    @property
    def written(self) -> str:
        return self._out.getvalue()

    @property
    def errors(self) -> str:
        return Emulator(200).write(self._errors.getvalue()).text


def token(index: int, text: str) -> Token:
    return Token(f"1.{index}", 1, index, text=text)


def done(status: str = "completed", **fields: object) -> Done:
    return Done(status, 1, "c1", **fields)  # type: ignore[arg-type]


def lines(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.split("\n")).rstrip("\n")


# --- the screen ----------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(LETTERS, st.sampled_from(["", "wait…", "a status that is longer than half a row"])),
        max_size=8,
    )
)
@example([("a" * COLUMNS, "wait…"), ("b", "")])
def test_a_status_comes_and_goes_without_a_trace(pieces: list[tuple[str, str]]) -> None:
    seen = Seen()
    for text, status in pieces:
        seen.screen.append(text)
        seen.screen.set_status(status)
        seen.screen.set_status("")
    assert seen.text == lines("".join(text for text, _ in pieces))


@given(LETTERS, st.sampled_from(["wait…", "a status that is longer than half a row"]))
def test_a_status_can_be_seen_while_it_is_there(text: str, status: str) -> None:
    seen = Seen()
    seen.screen.append(text)
    seen.screen.set_status("another")
    seen.screen.set_status(status)
    assert seen.text.endswith(status[:10]) or status[: COLUMNS - 4] in seen.text
    assert "another" not in seen.text


def test_nothing_is_a_command_to_the_terminal() -> None:
    seen = Seen()
    seen.screen.append("a\x1b[2Jb\x07\x9b31mc\rd\te\r\nf")
    assert seen.text == "a�[2Jb��31mc�d    e\nf"
    assert "\x1b" not in seen.written


def test_a_line_and_a_problem_begin_on_a_line_of_their_own() -> None:
    seen = Seen()
    seen.screen.append("text")
    seen.screen.print_line("a line")
    seen.screen.append("more")
    seen.screen.print_problem("what is\nwrong")
    assert (seen.text, seen.errors) == ("text\na line\nmore", "what is wrong")


def test_a_file_gets_no_status() -> None:
    seen = Seen(terminal=False)
    seen.screen.append("text")
    seen.screen.set_status("wait…")
    assert seen.written == "text"


async def test_what_is_quick_is_not_worth_a_word_and_what_is_slow_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.terminal.screen.SLOW_SECONDS", 0.0)
    seen = Seen()
    with seen.screen.show_waiting("wait…"):
        assert seen.text == ""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert seen.text == "wait…"
    assert seen.text == ""


# --- an answer ------------------------------------------------------------------------------------------


async def test_an_answer_streams_and_an_interruption_leaves_no_trace() -> None:
    seen = Seen()
    view = AnswerView(seen.screen)
    for event in (Started(1), token(1, "Hel")):
        view.apply(event)
    view.show_connection(Interrupted("http://x", "gone", 1.0))
    assert seen.text == f"Hel {RECONNECTING}"
    view.show_connection(Connected("http://x"))
    view.apply(token(2, "lo"))
    view.apply(done())
    assert seen.text == "Hello"


async def test_an_answer_says_what_it_waits_for_until_its_first_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("infra.terminal.screen.SLOW_SECONDS", 0.0)
    seen = Seen()
    view = AnswerView(seen.screen)

    async def shown() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return seen.text

    view.begin()
    assert await shown() == QUEUED
    view.apply(Started(1, "demo/slow"))
    assert await shown() == "demo/slow is thinking…"
    view.show_connection(Interrupted("http://x", "gone", 1.0))
    assert seen.text == RECONNECTING
    view.show_connection(Connected("http://x"))
    assert await shown() == "demo/slow is thinking…"
    view.apply(token(1, "Hel"))
    view.apply(Started(2, "demo/slow"))
    assert await shown() == "Hel"


async def test_a_file_gets_no_announcement() -> None:
    seen = Seen(terminal=False)
    AnswerView(seen.screen).begin()
    assert seen.written == ""


def test_a_snapshot_that_goes_on_from_what_is_shown_is_shown_on() -> None:
    seen = Seen()
    view = AnswerView(seen.screen)
    for event in (token(1, "Hel"), Snapshot(2, 3, text="Hello, you"), done()):
        view.apply(event)
    assert seen.text == "Hello, you"


@pytest.mark.parametrize("event", [Snapshot(2, 1, text="Other"), Reset(2)])
def test_what_was_shown_and_is_void_is_said_to_be_so(event: Snapshot | Reset) -> None:
    seen = Seen()
    view = AnswerView(seen.screen)
    for each in (token(1, "Hello"), event):
        view.apply(each)
    view.apply(token(2, "!"))
    rest = "Other!" if isinstance(event, Snapshot) else "!"
    assert seen.text == f"Hello\n{BEGUN_ANEW}\n{rest}"


def test_reasoning_stands_before_the_text() -> None:
    seen = Seen()
    view = AnswerView(seen.screen)
    for event in (
        Token("1.1", 1, 1, reasoning="hm"),
        Token("1.2", 1, 2, reasoning="!"),
        token(3, "Yes"),
        done(),
    ):
        view.apply(event)
    assert seen.text == "hm!\n\nYes"


def test_into_a_file_an_answer_goes_whole_so_that_nothing_void_is_in_it() -> None:
    seen = Seen(terminal=False)
    view = AnswerView(seen.screen)
    for event in (token(1, "old"), Reset(2), token(2, "new"), Token("2.3", 2, 3, reasoning="hm")):
        view.apply(event)
    assert seen.written == ""
    view.apply(done())
    assert seen.written == "new\n"


def test_how_it_ended_is_said_unless_it_is_as_it_should_be() -> None:
    seen = Seen()
    view = AnswerView(seen.screen)
    for event in (token(1, "Hel"), done("failed", error=Problem(title="No more", detail="of that"))):
        view.apply(event)
    assert (seen.text, seen.errors) == ("Hel", "[failed: No more of that]")
    for end, said in ((done("cancelled"), "[cancelled]"), (done(finish_reason="length"), "[ended: length]")):
        seen = Seen()
        AnswerView(seen.screen).apply(end)
        assert seen.text == said
