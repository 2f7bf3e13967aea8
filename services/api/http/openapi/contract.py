"""What goes out, as pydantic models: for the OpenAPI document only. Handlers make these documents themselves
(`services/api/http/documents.py`), for speed; that both say the same is tested with every response that schemathesis provokes.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from services.api.http.openapi import examples

FactsCursor = Annotated[
    str,
    Field(
        description="How far the log of facts had come. As `after`, a read waits until it has come as far.",
        examples=["c12"],
    ),
]
ChatIdentity = Annotated[str, Field(examples=[examples.CHAT])]
MessageIdentity = Annotated[str, Field(examples=[examples.MESSAGE])]
AnswerIdentity = Annotated[str, Field(examples=[examples.ANSWER])]
Metadata = Annotated[dict[str, Any], Field(examples=[{"colour": "green"}])]
Status = Literal["queued", "generating", "completed", "failed", "cancelled"]


class FieldError(BaseModel):
    field: str = Field(description="Where, with dots: `params.temperature`, `content.0.text`.")
    message: str


class Problem(BaseModel):
    """RFC 9457. `type` says what is wrong to a program, `detail` to a person."""

    type: str = Field(pattern="^urn:unspool:[a-z-]+$")
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(
        default=[], description="With `invalid` and `unknown-model`: each wrong field."
    )
    answer: str = Field(default="", description="With `answer-in-progress`: the answer that is being made.")


class Chat(BaseModel):
    id: ChatIdentity
    title: str | None
    model: str | None = Field(description="What its questions are put to, unless they say otherwise.")
    system: str | None
    metadata: Metadata
    archived: bool
    created_at: datetime
    updated_at: datetime | None = Field(
        default=None, description="The last activity. Left out of the answers to `POST` and `PATCH`."
    )
    generating: bool = Field(description="Whether an answer is being made.")
    cursor: FactsCursor


class ChatPage(BaseModel):
    data: list[Chat]
    next: str | None = Field(description="The `before` of the next page; null on the last.", examples=["c7"])
    cursor: FactsCursor


class TextPart(BaseModel):
    type: Literal["text"]
    text: str


class ToolCall(BaseModel):
    index: int
    id: str = ""
    name: str = ""
    arguments: str = Field(default="", description="As the model wrote them, which should be JSON.")


class Usage(BaseModel):
    """Tokens as the provider counted them, of all attempts together."""

    input_tokens: int
    output_tokens: int


class AnswerError(BaseModel):
    code: str = Field(examples=["provider-refused"])
    title: str
    detail: str
    status: int | None = Field(description="The provider's own.")


class Attempt(BaseModel):
    """Which token events came from which attempt."""

    attempt: int
    first_index: int
    last_index: int
    model: str


class _Made(BaseModel):
    """What there is of an answer."""

    status: Status
    text: str
    reasoning: str
    tool_calls: list[ToolCall]
    model: str | None
    finish_reason: str | None = Field(examples=["stop"])
    usage: Usage | None = Field(description="Null until the end, and where the provider does not say.")
    error: AnswerError | None = Field(description="Why it failed.")
    attempts: list[Attempt] | None = Field(description="Null until the end.")
    left_out: int = Field(description="Messages of the branch that did not fit into the model's window.")


class Answer(_Made):
    id: AnswerIdentity
    cursor: str | None = Field(
        description="The stream's last event so far: as `Last-Event-ID`, the stream goes on from here.",
        examples=["1.57"],
    )


class UserMessage(BaseModel):
    id: MessageIdentity
    role: Literal["user"]
    parent_id: str | None = Field(description="The answer that it replies to; null for a first message.")
    created_at: datetime
    metadata: Metadata
    content: list[TextPart]


class AssistantMessage(_Made):
    id: AnswerIdentity
    role: Literal["assistant"]
    parent_id: str = Field(description="The message that it answers.")
    created_at: datetime
    ended_at: datetime | None
    metadata: Metadata
    params: dict[str, Any]
    cursor: str | None = Field(default=None, description="As an answer's, while it is being made.")


class ChatWithMessages(Chat):
    messages: list[Annotated[UserMessage | AssistantMessage, Field(discriminator="role")]] = Field(
        description="A tree by `parent_id`, in the order of requests. Siblings are edits, or answers made again."
    )


class Accepted(BaseModel):
    """The question is in the log, and will be answered whatever dies."""

    message: MessageIdentity
    answer: AnswerIdentity
    stream: str = Field(examples=[f"/v1/answers/{examples.ANSWER}/stream"])
    cursor: FactsCursor


class Model(BaseModel):
    id: str = Field(description="What a chat or a message takes as `model`.", examples=["demo/200x20ms"])
    object: Literal["model"]
    owned_by: str = Field(description="The provider.")
    kind: str


class Models(BaseModel):
    object: Literal["list"]
    data: list[Model]


class Alive(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Literal["ok", "degraded", "not ready", "closing"]
    checks: dict[str, str]


# --- events of streams -------------------------------------------------------------------------------


class Started(BaseModel):
    """An attempt has begun. It has no id."""

    attempt: int
    model: str
    left_out: int = Field(default=0, description="As of an answer.")


class Token(BaseModel):
    """A piece: one of the three."""

    text: str = ""
    reasoning: str = ""
    tool_call: ToolCall | None = Field(
        default=None, description="Fragments of the same `index` belong together."
    )


class Reset(BaseModel):
    """Drop what there is: another attempt begins anew. It has no id."""

    attempt: int


class Snapshot(BaseModel):
    """All that there is: it replaces what the client has."""

    text: str
    reasoning: str
    tool_calls: list[ToolCall] = []
    attempt: int
    index: int


class Done(BaseModel):
    """The one last event. A stream that ends without it has broken off: connect again."""

    status: Literal["completed", "failed", "cancelled"]
    finish_reason: str | None
    usage: Usage
    last_index: int
    cursor: FactsCursor
    error: AnswerError | None = None


class Happened(BaseModel, extra="allow"):
    """Beside the chat there is what a list needs to know: `title`, `message`, `answer`, `status`, ..."""

    chat: ChatIdentity


class Reload(BaseModel):
    """The cursor is too old: load the list anew, and go on from here."""
