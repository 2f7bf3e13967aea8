"""Subjects, stream names and ids. No other module knows their form.

A chat's id is a token of a subject, so it contains no dot, space or wildcard. The ids of messages and answers begin
with their chat's id.
"""

import re
from typing import NewType
from uuid import NAMESPACE_URL, uuid5

Sequence = NewType("Sequence", int)
"""JetStream's number of a stored event within its stream."""
Index = NewType("Index", int)
"""The number of a token event within its answer: 1, 2, 3, ... across attempts, without gaps or repetitions."""
Attempt = NewType("Attempt", int)
"""The number of an attempt at an answer, from 1."""
ChatId = NewType("ChatId", str)
MessageId = NewType("MessageId", str)
AnswerId = NewType("AnswerId", str)

CHATS = "CHATS"
TOKENS = "TOKENS"
MODELS = "MODELS"
CHATS_SUBJECTS = "chats.*.*"
TOKENS_SUBJECTS = "tokens.*.*"
MODELS_SUBJECTS = "models.*"
GENERATORS = "generators"
"""The durable consumer from which all generators pull requests."""
TITLES = "titles"
REQUESTS = ("chats.*.message-requested", "chats.*.answer-requested")
ENDS = ("chats.*.answer-completed",)
STOPS = ("chats.*.cancel-requested", "chats.*.chat-deleted")

_CLIENT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-7][0-9A-HJKMNP-TV-Z]{25}")
_MESSAGE_MARK, _ANSWER_MARK = "_m", "_a"


def fact(chat: str, name: str) -> str:
    return f"chats.{chat}.{name}"


def facts(chat: str) -> str:
    """Returns the wildcard of a chat's facts, which is also the scope of their expected sequence."""
    return f"chats.{chat}.*"


def answer(answer_id: str) -> str:
    return f"tokens.{chat_of(answer_id)}.{answer_id}"


def answers(chat: str) -> str:
    return f"tokens.{chat}.*"


def catalogue(provider: str) -> str:
    return f"models.{provider}"


def worker(worker_id: str) -> str:
    """Returns the core NATS subject on which a worker responds whether it is generating an answer."""
    return f"workers.{worker_id}"


def importer(chat: str) -> str:
    """Returns the core NATS subject on which an import responds while it imports this chat."""
    return f"imports.{chat}"


def stream_of(subject: str) -> str:
    """Returns the stream of a subject. Raises `ValueError` if it belongs to none."""
    match subject.partition(".")[0]:
        case "chats":
            return CHATS
        case "tokens":
            return TOKENS
        case "models":
            return MODELS
    raise ValueError(f"{subject!r} belongs to no stream")


def parse(subject: str) -> tuple[str, ChatId, AnswerId | None]:
    """Returns the stream of an event's subject, its chat and, in TOKENS, its answer.

    The chat is empty in MODELS. Raises `ValueError` on a subject of no stream.
    """
    stream = stream_of(subject)
    _, _, rest = subject.partition(".")
    if stream == TOKENS:
        chat, _, answer_id = rest.partition(".")
        return stream, ChatId(chat), AnswerId(answer_id)
    return stream, ChatId("" if stream == MODELS else rest.partition(".")[0]), None


def client_id(text: str) -> str | None:
    """Returns a client's id in canonical form (UUID in lower case, ULID in upper case), or None if it is neither."""
    for form in (text.lower(), text.upper()):
        if _CLIENT_ID.fullmatch(form):
            return form
    return None


def keyed_id(owner: str, key: str) -> str:
    """Returns the id for an `Idempotency-Key`. The same owner and key always give the same id."""
    return str(uuid5(uuid5(NAMESPACE_URL, "urn:unspool:idempotency"), f"{owner}\n{key}"))


def message_id(chat: ChatId, local: str) -> MessageId:
    return MessageId(f"{chat}{_MESSAGE_MARK}{local}")


def answer_id(chat: ChatId, local: str) -> AnswerId:
    return AnswerId(f"{chat}{_ANSWER_MARK}{local}")


def chat_of(id_: str) -> ChatId:
    """Returns the chat of a message's or an answer's id; for a chat's id it returns the id itself."""
    return ChatId(id_.partition("_")[0])


def is_answer_id(id_: str) -> bool:
    return _has_form(id_, _ANSWER_MARK)


def is_message_id(id_: str) -> bool:
    return _has_form(id_, _MESSAGE_MARK)


def _has_form(id_: str, mark: str) -> bool:
    chat, found, local = id_.partition(mark)
    return bool(found) and client_id(chat) == chat and client_id(local) == local
