"""Events for ever: what was stored once can be read by every later version, and means the same."""

from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from shared.domain.events import (
    AnswerEvent,
    CatalogueAnnounced,
    Fact,
    decode_answer_event,
    decode_catalogue,
    decode_fact,
    encode,
)

STORED = (Path(__file__).parent / "stored_events.jsonl").read_bytes().splitlines()
"""One example of every version that was ever stored. Lines are added here, and never changed or removed."""


def tag_of(line: bytes) -> str:
    return str(msgspec.json.decode(line)["type"])


def decode(line: bytes) -> Any:
    for decoder in (decode_fact, decode_answer_event, decode_catalogue):
        try:
            return decoder(line)
        except msgspec.MsgspecError:
            continue
    raise AssertionError(f"no version of the code reads {tag_of(line)}")


@pytest.mark.parametrize("line", STORED, ids=tag_of)
def test_every_version_that_was_ever_stored_can_be_read(line: bytes) -> None:
    known = msgspec.json.decode(line)
    again = msgspec.json.decode(encode(decode(line)))
    # Fields may have been added since; what was stored has kept its names and values.
    assert {name: again[name] for name in known} == known


def test_every_type_of_event_has_a_stored_example() -> None:
    types = (*get_args(Fact), *get_args(AnswerEvent), CatalogueAnnounced)
    assert {kind.__struct_config__.tag for kind in types} <= {tag_of(line) for line in STORED}


def test_a_field_that_this_version_does_not_know_is_passed_over() -> None:
    newer = msgspec.json.decode(STORED[0]) | {"colour": "of a later version"}
    assert decode_fact(msgspec.json.encode(newer)) == decode_fact(STORED[0])


def test_an_unknown_tag_is_an_error_and_no_guess() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_fact(b'{"type":"chat-created.v99","chat":"x"}')
