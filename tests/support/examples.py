"""Named examples of events and states, so that tests specify only the values that matter."""

from typing import TypeVar
from uuid import UUID

from shared.domain import subjects
from shared.domain.events import (
    AnswerCancelled,
    AnswerCompleted,
    AnswerEvent,
    AnswerFailed,
    AnswerRequested,
    CancelRequested,
    ChatArchived,
    ChatCreated,
    ChatDeleted,
    ChatMetadataChanged,
    ChatRenamed,
    ChatUnarchived,
    Fact,
    GenerationEnded,
    GenerationHandedOver,
    GenerationReset,
    GenerationStarted,
    MessageRequested,
    Problem,
    TextPart,
    TitleGenerated,
    TokenEmitted,
    Usage,
)
from shared.domain.subjects import AnswerId, Attempt, ChatId, Index, MessageId, Sequence

CHAT = ChatId("00000000-0000-4000-8000-000000000001")
OWNER = "local"
E = TypeVar("E", Fact, AnswerEvent)
MODEL = "demo/5x0ms"
PROBLEM = Problem(
    code="provider-refused", title="The provider gave no answer.", detail="no such model", status=404
)


def local(number: int) -> str:
    return str(UUID(int=number, version=4))


def message(number: int = 1) -> MessageId:
    return subjects.message_id(CHAT, local(number))


def answer(number: int = 1) -> AnswerId:
    return subjects.answer_id(CHAT, local(number))


def chat_created(**changes: object) -> ChatCreated:
    id_ = f"{changes.get('chat', CHAT)}.created"
    return ChatCreated(**({"chat": CHAT, "owner": OWNER, "id": id_} | changes))  # type: ignore[arg-type]


def message_requested(number: int = 1, parent: AnswerId | None = None, **changes: object) -> MessageRequested:
    fields: dict[str, object] = {
        "chat": CHAT,
        "owner": OWNER,
        "id": message(number),
        "message": message(number),
        "answer": answer(number),
        "parent": parent,
        "content": (TextPart(f"question {number}"),),
        "model": MODEL,
        "request_hash": f"hash {number}",
    }
    return MessageRequested(**(fields | changes))  # type: ignore[arg-type]


def answer_requested(number: int = 9, of: int = 1) -> AnswerRequested:
    return AnswerRequested(
        chat=CHAT, owner=OWNER, id=answer(number), message=message(of), answer=answer(number), model=MODEL
    )


def _end(number: int, text: str) -> dict[str, object]:
    return {
        "chat": CHAT,
        "owner": OWNER,
        "id": f"{answer(number)}.end",
        "message": message(number),
        "answer": answer(number),
        "model": MODEL,
        "text": text,
        "attempt": Attempt(1),
        "last_index": Index(1 if text else 0),
        "finish_reason": "stop",
        "usage": Usage(input_tokens=3, output_tokens=5),
    }


def answer_completed(number: int = 1, text: str = "an answer") -> AnswerCompleted:
    return AnswerCompleted(**_end(number, text))  # type: ignore[arg-type]


def answer_failed(number: int = 1, text: str = "") -> AnswerFailed:
    return AnswerFailed(**_end(number, text), error=PROBLEM)  # type: ignore[arg-type]


def answer_cancelled(number: int = 1, text: str = "an ans") -> AnswerCancelled:
    return AnswerCancelled(**_end(number, text))  # type: ignore[arg-type]


def cancel_requested(number: int = 1) -> CancelRequested:
    return CancelRequested(chat=CHAT, owner=OWNER, id=f"{answer(number)}.cancel", answer=answer(number))


def title_generated(title: str = "A title") -> TitleGenerated:
    return TitleGenerated(chat=CHAT, owner=OWNER, id=f"{CHAT}.title", title=title, source="model")


def chat_renamed(title: str = "My title") -> ChatRenamed:
    return ChatRenamed(chat=CHAT, owner=OWNER, id=f"rename {title}", title=title)


def chat_archived() -> ChatArchived:
    return ChatArchived(chat=CHAT, owner=OWNER, id="archive")


def chat_unarchived() -> ChatUnarchived:
    return ChatUnarchived(chat=CHAT, owner=OWNER, id="unarchive")


def chat_metadata_changed() -> ChatMetadataChanged:
    return ChatMetadataChanged(chat=CHAT, owner=OWNER, id="metadata", metadata={"colour": "blue"})


def chat_deleted() -> ChatDeleted:
    return ChatDeleted(chat=CHAT, owner=OWNER, id=f"{CHAT}.deleted")


def started(attempt: int = 1, worker: str = "worker-a", crashes: int = 0) -> GenerationStarted:
    return GenerationStarted(
        attempt=Attempt(attempt), worker=worker, model=MODEL, request=Sequence(2), crashes=crashes
    )


def token(index: int = 1, text: str | None = None, attempt: int = 1) -> TokenEmitted:
    return TokenEmitted(attempt=Attempt(attempt), index=Index(index), text=text or f"word{index} ")


def reset(attempt: int = 2) -> GenerationReset:
    return GenerationReset(attempt=Attempt(attempt))


def handed_over(attempt: int = 1) -> GenerationHandedOver:
    return GenerationHandedOver(attempt=Attempt(attempt), usage=Usage(output_tokens=2))


def ended(attempt: int = 1, last_index: int = 1) -> GenerationEnded:
    return GenerationEnded(
        attempt=Attempt(attempt), outcome="completed", last_index=Index(last_index), finish_reason="stop"
    )


def numbered(*events: E, first: int = 1) -> list[tuple[E, Sequence]]:
    return [(event, Sequence(number)) for number, event in enumerate(events, start=first)]
