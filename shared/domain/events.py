"""Everything that can stand in the log, as one tagged union per stream.

The law of this file: a field never changes its meaning; a new field has a default; a breaking change
is a new tag, and the old one is upcast in `decode_fact` or `decode_answer_event` and nowhere else.
"""

from typing import Any, ClassVar, Literal

import msgspec
from msgspec import Struct

from shared.domain.subjects import AnswerId, Attempt, ChatId, Index, MessageId, Sequence

Outcome = Literal["completed", "failed", "cancelled"]
Json = dict[str, Any]


class TextPart(Struct, frozen=True, tag_field="type", tag="text"):
    text: str


Content = tuple[TextPart, ...]
"""Typed parts. Text now; images, tool calls and tool results are to be further types of part."""


class ToolCallFragment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A piece of a tool call as it streams in: fragments of the same `index` belong together, in order."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens as the provider counted them; a continued or repeated answer has the sum of its attempts."""

    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
        )


class Problem(Struct, frozen=True, kw_only=True):
    """Why an answer failed, in the form in which clients get it."""

    code: str
    title: str
    detail: str = ""
    status: int | None = None


class AttemptSpan(Struct, frozen=True, kw_only=True):
    """Which part of an answer came from which attempt: token events `first_index` to `last_index`."""

    attempt: Attempt
    first_index: Index
    last_index: Index
    model: str


# --- facts: stream CHATS -----------------------------------------------------------------------------


class _Fact(Struct, frozen=True, kw_only=True):
    chat: ChatId
    owner: str
    id: str
    """The event's own id, and its `Nats-Msg-Id`: by it an append knows its own event again."""


class ChatCreated(_Fact, frozen=True, kw_only=True, tag="chat-created.v1"):
    title: str | None = None
    model: str | None = None
    system: str | None = None
    metadata: Json = {}
    request_hash: str = ""


class MessageRequested(_Fact, frozen=True, kw_only=True, tag="message-requested.v1"):
    """The user's message and the answer asked for: one fact, so that there is never one without the other."""

    message: MessageId
    answer: AnswerId
    parent: AnswerId | None
    content: Content
    model: str
    role: Literal["user"] = "user"
    params: Json = {}
    instructions: str | None = None
    metadata: Json = {}
    context: tuple[Sequence, ...] = ()
    """The facts of this branch, oldest first: requests and ends of answers, by their sequence in CHATS."""
    request_hash: str = ""
    imported: bool = False


class AnswerRequested(_Fact, frozen=True, kw_only=True, tag="answer-requested.v1"):
    """Another answer to a message that stands."""

    message: MessageId
    answer: AnswerId
    model: str
    params: Json = {}
    instructions: str | None = None
    metadata: Json = {}
    context: tuple[Sequence, ...] = ()
    """As in `MessageRequested`; the last one is the request that holds the message itself."""
    request_hash: str = ""
    imported: bool = False


class CancelRequested(_Fact, frozen=True, kw_only=True, tag="cancel-requested.v1"):
    answer: AnswerId


class AnswerEnded(_Fact, frozen=True, kw_only=True):
    """The end of an answer, with all that the answer says. The class that is stored tells the outcome."""

    outcome: ClassVar[Outcome]
    message: MessageId
    answer: AnswerId
    model: str
    text: str
    reasoning: str = ""
    tool_calls: tuple[ToolCallFragment, ...] = ()
    attempt: Attempt
    last_index: Index
    finish_reason: str = ""
    usage: Usage = Usage()
    spans: tuple[AttemptSpan, ...] = ()
    left_out: int = 0
    """How many messages of the branch did not fit into the model's window."""


class AnswerCompleted(AnswerEnded, frozen=True, kw_only=True, tag="answer-completed.v1"):
    """The model came to its own end."""

    outcome: ClassVar[Outcome] = "completed"


class AnswerFailed(AnswerEnded, frozen=True, kw_only=True, tag="answer-failed.v1"):
    """The provider or its limits ended the answer; `error` says why, and `text` holds what came before."""

    outcome: ClassVar[Outcome] = "failed"
    error: Problem


class AnswerCancelled(AnswerEnded, frozen=True, kw_only=True, tag="answer-cancelled.v1"):
    """A person cancelled the answer; `text` holds what came before."""

    outcome: ClassVar[Outcome] = "cancelled"


class TitleGenerated(_Fact, frozen=True, kw_only=True, tag="title-generated.v1"):
    title: str
    source: Literal["model", "words"]


class ChatRenamed(_Fact, frozen=True, kw_only=True, tag="chat-renamed.v1"):
    title: str


class ChatArchived(_Fact, frozen=True, kw_only=True, tag="chat-archived.v1"):
    pass


class ChatUnarchived(_Fact, frozen=True, kw_only=True, tag="chat-unarchived.v1"):
    pass


class ChatMetadataChanged(_Fact, frozen=True, kw_only=True, tag="chat-metadata-changed.v1"):
    metadata: Json


class ChatDeleted(_Fact, frozen=True, kw_only=True, tag="chat-deleted.v1"):
    pass


AnswerRequest = MessageRequested | AnswerRequested
Fact = (
    ChatCreated
    | MessageRequested
    | AnswerRequested
    | CancelRequested
    | AnswerCompleted
    | AnswerFailed
    | AnswerCancelled
    | TitleGenerated
    | ChatRenamed
    | ChatArchived
    | ChatUnarchived
    | ChatMetadataChanged
    | ChatDeleted
)


# --- an answer as it is made: stream TOKENS ------------------------------------------------------------


class GenerationStarted(Struct, frozen=True, kw_only=True, tag="generation-started.v1"):
    """Appended before the provider is called. `worker` is unique to the process: this fences all others."""

    attempt: Attempt
    worker: str
    model: str
    request: Sequence
    left_out: int = 0
    crashes: int = 0
    """How many earlier attempts ended without a word: those that count against the limit."""


class TokenEmitted(Struct, frozen=True, kw_only=True, omit_defaults=True, tag="token-emitted.v1"):
    """Exactly one of `text`, `reasoning` and `tool_call` is set."""

    attempt: Attempt
    index: Index
    text: str = ""
    reasoning: str = ""
    tool_call: ToolCallFragment | None = None


class GenerationReset(Struct, frozen=True, kw_only=True, tag="generation-reset.v1"):
    """What was emitted before is void; the index goes on."""

    attempt: Attempt


class GenerationHandedOver(Struct, frozen=True, kw_only=True, tag="generation-handed-over.v1"):
    """The worker stopped in good order: the next may take over at once, and it does not count as a crash."""

    attempt: Attempt
    usage: Usage = Usage()


class GenerationEnded(Struct, frozen=True, kw_only=True, tag="generation-ended.v1"):
    """Decides the outcome. All that the fact needs and the tokens do not tell."""

    attempt: Attempt
    outcome: Outcome
    last_index: Index
    finish_reason: str = ""
    usage: Usage = Usage()
    error: Problem | None = None


AnswerEvent = GenerationStarted | TokenEmitted | GenerationReset | GenerationHandedOver | GenerationEnded


# --- what providers offer: stream MODELS, the last word of each provider -----------------------------------


class CatalogueAnnounced(Struct, frozen=True, kw_only=True, tag="catalogue-announced.v1"):
    provider: str
    kind: str
    models: tuple[str, ...]
    """Without the provider's name."""
    pattern: str = ""
    """A regular expression; what matches it is a model too, listed or not."""


_encoder = msgspec.json.Encoder()
_facts = msgspec.json.Decoder(Fact)
_answer_events = msgspec.json.Decoder(AnswerEvent)
_catalogues = msgspec.json.Decoder(CatalogueAnnounced)


def encode(event: Fact | AnswerEnded | AnswerEvent | CatalogueAnnounced) -> bytes:
    """The same event gives the same bytes, on every machine: an append compares them to know its own."""
    return _encoder.encode(event)


def decode_fact(data: bytes) -> Fact:
    """Raises `msgspec.MsgspecError` on an unknown tag or a body that is none."""
    fact: Fact = _facts.decode(data)
    return fact


def decode_answer_event(data: bytes) -> AnswerEvent:
    """As `decode_fact`."""
    event: AnswerEvent = _answer_events.decode(data)
    return event


def decode_catalogue(data: bytes) -> CatalogueAnnounced:
    """As `decode_fact`."""
    return _catalogues.decode(data)


def name_of(event: Fact | AnswerEnded) -> str:
    """The event's name in its subject: the tag without its version."""
    tag = event.__struct_config__.tag
    assert isinstance(tag, str)  # noqa: S101 - every event has one
    return tag.partition(".")[0]
