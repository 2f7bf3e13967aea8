"""An event is decoded where it comes out of the log; what this version does not know is told apart, and never raises."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import subjects
from shared.domain.errors import UndecodableEvent
from shared.domain.events import CatalogueAnnounced, encode, name_of
from shared.domain.subjects import Sequence
from shared.log.recorded import Unknown, answer_event_of, answer_events_of, facts_of, record
from tests.support import examples

CHECKOUT = Path(__file__).parents[2]
NOW = datetime.now(UTC)
DEEP = b'{"type":"chat-metadata-changed.v1","metadata":' + b'{"a":' * 5000 + b"1" + b"}" * 5001
NOT_KNOWN = [b"", b"\xff\x00", b"[]", b'{"type":"chat-exploded.v9"}', b'{"type":"chat-archived.v1"}', DEEP]


def test_a_fact_comes_with_its_chat_and_a_token_with_its_answer_too() -> None:
    created = examples.chat_created()
    recorded = record(subjects.fact(created.chat, name_of(created)), Sequence(3), NOW, encode(created))
    assert (recorded.chat, recorded.answer, recorded.event) == (created.chat, None, created)
    token = examples.token(1)
    recorded = record(subjects.answer(examples.answer()), Sequence(4), NOW, encode(token))
    assert (recorded.chat, recorded.answer, recorded.event) == (created.chat, examples.answer(), token)


def test_a_catalogue_belongs_to_no_chat() -> None:
    catalogue = CatalogueAnnounced(provider="demo", kind="demo", models=("demo",))
    recorded = record(subjects.catalogue("demo"), Sequence(1), NOW, encode(catalogue))
    assert (recorded.chat, recorded.answer, recorded.event) == ("", None, catalogue)


@pytest.mark.parametrize("data", NOT_KNOWN, ids=lambda data: repr(data[:24]))
def test_what_this_version_does_not_know_keeps_its_place_and_says_why(data: bytes) -> None:
    recorded = record(subjects.fact("c", "chat-archived"), Sequence(5), NOW, data)
    assert isinstance(recorded.event, Unknown)
    assert recorded.event.reason
    assert (recorded.sequence, recorded.data) == (5, data)


@given(data=st.binary(max_size=200))
def test_no_bytes_break_the_follower(data: bytes) -> None:
    record(subjects.answer(examples.answer()), Sequence(1), NOW, data)


def test_an_unknown_fact_is_passed_over_and_an_unknown_event_of_an_answer_raises() -> None:
    unknown = record(subjects.fact("c", "chat-exploded"), Sequence(1), NOW, b'{"type":"chat-exploded.v9"}')
    created = examples.chat_created()
    known = record(subjects.fact(created.chat, name_of(created)), Sequence(2), NOW, encode(created))
    assert facts_of([unknown, None, known]) == [created]
    subject = subjects.answer(examples.answer())
    token = record(subject, Sequence(1), NOW, encode(examples.token(1)))
    newer = record(subject, Sequence(2), NOW, b'{"type":"token-emitted.v9"}')
    assert answer_events_of([token]) == [(examples.token(1), 1)]
    with pytest.raises(UndecodableEvent):
        answer_events_of([token, newer])
    with pytest.raises(UndecodableEvent):
        answer_event_of(known)


def test_services_decode_no_events_and_take_no_subject_apart() -> None:
    """The log decodes, `subjects.py` parses; an export's file is no log, and is read by the importer."""
    for room in ("services", "infra", "shared"):
        for path in (CHECKOUT / room).rglob("*.py"):
            name, text = path.relative_to(CHECKOUT).as_posix(), path.read_text(encoding="utf-8")
            if name not in {
                "shared/domain/events.py",
                "shared/log/recorded.py",
                "infra/transfer/exported.py",
            }:
                assert not re.search(r"decode_(fact|answer_event|catalogue)\(", text), name
            if name != "shared/domain/subjects.py":
                assert not re.search(r"subject\.(r?split|r?partition)\(", text), name
