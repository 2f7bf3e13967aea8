"""The window of newest facts: what it holds of a chat is what a walk through all of it would find."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.api.commands.held_facts import HeldFacts
from shared.domain.events import ChatArchived, encode
from shared.domain.subjects import ChatId, Sequence, fact
from shared.log.recorded import Recorded, record

CHATS = ("a", "b", "c")


def archived(chat: str, sequence: int) -> Recorded:
    event = ChatArchived(chat=ChatId(chat), owner="o", id=f"{chat}.{sequence}")
    return record(fact(chat, "chat-archived"), Sequence(sequence), datetime.now(UTC), encode(event))


@given(
    chats=st.lists(st.sampled_from(CHATS), max_size=60),
    gaps=st.lists(st.integers(1, 3), min_size=60, max_size=60),
    facts_max=st.integers(1, 12),
    after=st.integers(0, 200),
)
def test_a_chats_facts_are_those_that_a_walk_through_all_would_find(
    chats: list[str], gaps: list[int], facts_max: int, after: int
) -> None:
    held, all_facts, evicted, sequence = HeldFacts(facts_max), list[Recorded](), list[Sequence](), 0
    for chat, gap in zip(chats, gaps, strict=False):
        sequence += gap
        all_facts.append(archived(chat, sequence))
        if (gone := held.add(all_facts[-1])) is not None:
            evicted.append(gone)
    newest = all_facts[-facts_max:]
    assert len(held) == len(newest)
    assert held.newest == (newest[-1].sequence if newest else 0)
    assert evicted == [one.sequence for one in all_facts[: len(all_facts) - len(newest)]]
    for chat in CHATS:
        found = list(held.of(ChatId(chat), Sequence(after)))
        assert found == [one for one in newest if one.chat == chat and one.sequence > after]
    for at in range(1, sequence + 2):
        assert held.at(Sequence(at)) == next((one for one in newest if one.sequence == at), None)


def test_what_the_log_lost_is_forgotten_and_new_facts_may_have_its_sequences() -> None:
    held = HeldFacts(4)
    for sequence in (7, 8, 9):
        held.add(archived("a", sequence))
    held.clear()
    assert (len(held), held.newest, held.at(Sequence(8))) == (0, 0, None)
    assert list(held.of(ChatId("a"), Sequence(0))) == []
    again = archived("a", 8)
    assert held.add(again) is None
    assert list(held.of(ChatId("a"), Sequence(0))) == [again]
