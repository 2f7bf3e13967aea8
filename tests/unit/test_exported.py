"""An export is checked as a whole: what is wrong with it is said with its line."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.transfer.exported import BrokenExport, read_export
from infra.transfer.rewriting import Rewriter
from shared.domain import subjects
from shared.domain.events import Fact, MessageRequested, encode, name_of
from shared.domain.subjects import ChatId, Sequence
from tests.support import examples


def line(fact: Any, sequence: int, subject: str | None = None) -> str:
    where = subject or subjects.fact(examples.CHAT, name_of(fact))
    return json.dumps({"subject": where, "sequence": sequence, "time": "", "event": json.loads(encode(fact))})


CREATED, ASKED = line(examples.chat_created(), 1), line(examples.message_requested(1), 2)
TOKEN = json.dumps(
    {
        "subject": f"tokens.{examples.CHAT}.{examples.answer(5)}",
        "sequence": 1,
        "event": json.loads(encode(examples.token(1))),
    }
)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], "line 0 of the export: the export ends without a chat"),
        (["nonsense"], "line 1 of the export: JSON is malformed"),
        ([CREATED, "{}"], "line 2 of the export: Object missing required field `subject`"),
        ([ASKED], "line 1 of the export: the first fact"),
        ([CREATED, "", CREATED], "line 3 of the export: the sequences of facts must increase"),
        (
            [CREATED, ASKED.replace("message-requested.v1", "message-requested.v9")],
            "line 2 of the export: Invalid",
        ),
        ([CREATED, ASKED, line(examples.chat_deleted(), 3)], "line 3 of the export: the chat was deleted"),
        ([CREATED, line(examples.answer_completed(1), 3)], "line 2 of the export: the answer"),
        (
            [CREATED, ASKED, line(examples.message_requested(1, id="other"), 3)],
            "line 3 of the export: the answer",
        ),
        (
            [CREATED, line(examples.message_requested(1, context=(9,)), 2)],
            "line 2 of the export: its context",
        ),
        (
            [CREATED, line(examples.message_requested(1, id="a\r\nb: c"), 2)],
            "line 2 of the export: the id of a fact",
        ),
        (
            [CREATED, ASKED, line(examples.message_requested(2, examples.answer(1)), 3)],
            "line 3 of the export: its parent",
        ),
        (
            [CREATED, line(examples.chat_renamed(), 2, "chats.other.chat-renamed")],
            "line 2 of the export: all events of an export",
        ),
        ([CREATED, ASKED, TOKEN], "line 3 of the export: the answer"),
    ],
)
def test_a_broken_export_is_refused_with_the_line(lines: list[str], said: str) -> None:
    with pytest.raises(BrokenExport) as caught:
        read_export(line.encode() for line in lines)
    assert str(caught.value).startswith(said)


def token_line(sequence: int, event: Any) -> str:
    return line(event, sequence, subjects.answer(examples.answer(1)))


@pytest.mark.parametrize(
    ("events", "whole"),
    [
        ((examples.started(), examples.token(1), examples.ended()), True),
        ((examples.started(), examples.started(2), examples.token(1), examples.ended(2)), True),
        ((examples.token(1), examples.ended()), False),
        ((examples.started(), examples.token(2), examples.ended(last_index=2)), False),
        ((examples.started(), examples.token(1)), False),
        ((examples.started(), examples.token(1), examples.ended(), examples.token(2)), False),
    ],
)
def test_tokens_that_are_not_whole_are_left_out(events: tuple[Any, ...], whole: bool) -> None:  # noqa: FBT001
    tokens = [token_line(number, event) for number, event in enumerate(events, start=7)]
    lines = [CREATED, ASKED, *tokens, line(examples.answer_completed(1), 3)]
    exported = read_export(one.encode() for one in lines)
    assert (list(exported.tokens), exported.left_out) == (
        ([examples.answer(1)], []) if whole else ([], [examples.answer(1)])
    )


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_whatever_comes_in_is_refused_by_line(data: bytes) -> None:
    with pytest.raises(BrokenExport):
        read_export([data])


def test_with_a_new_id_no_id_of_the_old_chat_is_left() -> None:
    new = ChatId(examples.local(77))
    rewriter = Rewriter(examples.CHAT, new, "ada")
    facts: list[Fact] = [
        examples.chat_created(),
        examples.message_requested(1),
        examples.answer_completed(1),
        examples.message_requested(2, examples.answer(1), context=(Sequence(2), Sequence(3))),
        examples.cancel_requested(2),
        examples.chat_renamed(),
    ]
    for number, fact in enumerate(facts, start=1):
        done = rewriter.rewrite_fact(fact)
        rewriter.record(Sequence(number), Sequence(number * 100))
        assert f'"{examples.CHAT}'.encode() not in encode(done)
        assert done.chat == new
        assert done.id.startswith(new)
        assert done.owner == "ada"
        if isinstance(done, MessageRequested):
            assert done.imported
            assert done.context == ((200, 300) if number == 4 else ())
