"""Random histories of chats that are possible: each is produced by deciding random commands."""

from collections.abc import Sequence as Items
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st
from msgspec import UNSET

from services.api.commands.decisions import (
    ChangeChat,
    Command,
    CreateChat,
    DeleteChat,
    RequestAnswer,
    RequestCancel,
    RequestMessage,
    decide,
)
from shared.domain import subjects
from shared.domain.chat import ChatState, evolve
from shared.domain.errors import Rejected
from shared.domain.events import (
    AnswerCancelled,
    AnswerCompleted,
    AnswerFailed,
    Fact,
    TextPart,
    TitleGenerated,
    encode,
    name_of,
)
from shared.domain.subjects import Attempt, ChatId, Index, Sequence
from shared.log.recorded import Recorded, record
from tests.support import examples

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
_STEPS = st.tuples(st.integers(0, 2), st.integers(0, 11), st.integers(0, 5), _TEXT)


class History:
    """The facts of a few chats, interleaved, with the sequences and times of a log."""

    def __init__(self) -> None:
        self.facts: list[tuple[Fact, Sequence]] = []
        self.states: dict[ChatId, ChatState] = {}

    def append(self, fact: Fact) -> None:
        sequence = Sequence(len(self.facts) + 1)
        evolve(self.states[fact.chat], fact, sequence)
        self.facts.append((fact, sequence))

    def stored(self) -> list[Recorded]:
        return [
            record(
                subjects.fact(fact.chat, name_of(fact)),
                sequence,
                _BEGIN + timedelta(seconds=sequence),
                encode(fact),
            )
            for fact, sequence in self.facts
        ]


@st.composite
def histories(draw: st.DrawFn, max_steps: int = 30) -> History:
    history = History()
    for number, (which, action, pick, text) in enumerate(draw(st.lists(_STEPS, max_size=max_steps))):
        chat = ChatId(examples.local(100 + which))
        state = history.states.setdefault(chat, ChatState(chat))
        try:
            for fact in _facts(state, number, action, pick, text):
                history.append(fact)
        except Rejected:
            continue
    return history


def _facts(state: ChatState, number: int, action: int, pick: int, text: str) -> Items[Fact]:
    if not state.exists:
        return decide(
            CreateChat(chat=state.id, owner=examples.OWNER, title=text if pick == 0 else None), state
        )
    running = [answer for answer in state.answers.values() if answer.ended is None]
    if action in {3, 4, 5} and running:
        return [_ended(state, running[pick % len(running)].id, pick, text)]
    if action == 6 and not state.titled:
        title = TitleGenerated(chat=state.id, owner=state.owner, id=f"t{number}", title=text, source="model")
        return [title]
    return decide(_command(state, number, action, pick, text), state)


def _ended(state: ChatState, answer: str, pick: int, text: str) -> Fact:
    node = state.answers[subjects.AnswerId(answer)]
    kind = (AnswerCompleted, AnswerCancelled)[pick % 2]
    fields = {
        "chat": state.id,
        "owner": state.owner,
        "id": f"{answer}.end",
        "message": node.message,
        "answer": node.id,
        "model": node.model,
        "text": text,
        "attempt": Attempt(1),
        "last_index": Index(pick),
    }
    if pick == 5:
        return AnswerFailed(**fields, error=examples.PROBLEM)  # type: ignore[arg-type]
    return kind(**fields)  # type: ignore[arg-type]


def _command(state: ChatState, number: int, action: int, pick: int, text: str) -> Command:
    chat, owner = state.id, examples.OWNER
    answers = list(state.answers)
    local = str(UUID(int=number, version=4))
    if action == 7 and answers:
        beside, new = answers[pick % len(answers)], subjects.answer_id(chat, local)
        return RequestAnswer(chat=chat, owner=owner, beside=beside, answer=new, model="demo/b")
    if action == 8 and answers:
        return RequestCancel(chat=chat, owner=owner, answer=answers[pick % len(answers)])
    if action == 9:
        return ChangeChat(
            chat=chat,
            owner=owner,
            id=local,
            title=text if pick % 2 else UNSET,
            archived=pick % 3 == 0,
            metadata={"m": text} if pick > 3 else UNSET,
        )
    if action == 10 and pick == 0:
        return DeleteChat(chat=chat, owner=owner)
    parent = answers[pick % len(answers)] if answers and action == 11 else UNSET
    return RequestMessage(
        chat=chat,
        owner=owner,
        message=subjects.message_id(chat, local),
        answer=subjects.answer_id(chat, local),
        content=(TextPart(text),),
        model=examples.MODEL,
        parent=None if pick == 5 else parent,
        request_hash=text,
    )
