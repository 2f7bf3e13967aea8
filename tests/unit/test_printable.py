"""Content never commands a terminal, whichever command prints it."""

import io
import json
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import structs
from rich.console import Console
from unspool_client import Done, Problem, Token

from infra.inspect.entries import Entry, entry
from infra.inspect.replay_json import JsonLines
from infra.inspect.replay_lines import Lines
from infra.inspect.stored_event import describe
from infra.terminal.answer_view import AnswerView
from infra.terminal.printable import escape_json, printable
from infra.terminal.screen import Screen
from shared.domain import subjects
from shared.domain.events import Fact, TextPart, TokenEmitted, ToolCallFragment, encode, name_of
from shared.domain.subjects import Sequence
from shared.log.recorded import record
from tests.support import examples

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
COMMANDS = st.sampled_from(["\x1b[2J", "\x1b]0;title\x07", "\x9b31m", "\x7f", "\x00", "\r", "\b", *BIDI])
CONTENT = st.lists(st.one_of(st.text(st.characters(codec="utf-8"), max_size=5), COMMANDS), max_size=8).map(
    "".join
)


def commands_in(text: str) -> list[str]:
    return [
        character
        for character in text
        if character in BIDI or (unicodedata.category(character) == "Cc" and character not in "\n\t")
    ]


@given(CONTENT)
@example("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\")
@example(f"a{BIDI}b")
def test_only_line_ends_and_tabs_are_left_of_the_controls(text: str) -> None:
    assert commands_in(printable(text)) == []


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs"])))
def test_other_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@given(CONTENT)
def test_a_json_document_keeps_every_character_and_holds_no_control(text: str) -> None:
    escaped = escape_json(json.dumps({"text": text}, ensure_ascii=False))
    assert commands_in(escaped) == []
    assert json.loads(escaped) == {"text": text}


def stored(event: Fact | TokenEmitted) -> Entry:
    """An event as the log has it."""
    if isinstance(event, TokenEmitted):
        subject = subjects.answer(examples.answer())
    else:
        subject = subjects.fact(examples.CHAT, name_of(event))
    return entry(record(subject, Sequence(1), datetime(2026, 1, 1, tzinfo=UTC), encode(event)))


def hostile(text: str) -> list[Entry]:
    """Events that hold this text wherever an event can hold content."""
    call = ToolCallFragment(index=0, id=text, name=text, arguments=text)
    failed = examples.answer_failed(text=text)
    refused = structs.replace(failed.error, title=text, detail=text)
    return [
        stored(event)
        for event in (
            examples.chat_renamed(text),
            examples.message_requested(content=(TextPart(text),), model=text, params={text: text}),
            examples.token(text=text),
            structs.replace(examples.token(2, text="x"), text="", tool_call=call),
            structs.replace(failed, error=refused, finish_reason=text),
        )
    ]


@given(CONTENT)
@example(f"\x1b[2J\x9b31m\x7f{BIDI}")
@pytest.mark.parametrize("each_token", [False, True])
def test_replay_and_inspect_print_no_control_of_an_event(each_token: bool, text: str) -> None:  # noqa: FBT001
    out = io.StringIO()
    printer = Lines(Console(file=out, highlight=False), each_token=each_token)
    for one in hostile(text):
        printer.show(one)
        assert commands_in(describe(one)) == []
    printer.end()
    assert commands_in(out.getvalue()) == []


def test_json_lines_hold_every_character_and_no_control(capsys: pytest.CaptureFixture[str]) -> None:
    text = f"\x1b[2J\x9b31m\x7f{BIDI}"
    JsonLines().show(stored(examples.chat_renamed(text)))
    line = capsys.readouterr().out
    assert commands_in(line) == []
    assert json.loads(line)["event"]["title"] == text


@given(CONTENT)
def test_a_conversation_shows_no_control_of_an_answer_or_its_error(text: str) -> None:
    out, errors = io.StringIO(), io.StringIO()
    screen = Screen(Console(file=out, highlight=False), Console(file=errors, highlight=False))
    view = AnswerView(screen)
    for event in (
        Token("1.1", 1, 1, text=text),
        Done("failed", 1, "c1", error=Problem(title=text, detail=text)),
    ):
        view.apply(event)
    screen.print_question(text)
    assert commands_in(out.getvalue()) == commands_in(errors.getvalue()) == []
