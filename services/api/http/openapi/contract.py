"""Response documents as pydantic models, for the OpenAPI document only. For speed, the routes build their responses
in `services/api/http/documents.py`; a schemathesis run checks that both agree.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from services.api.http.openapi import examples

FactsCursor = Annotated[
    str,
    Field(
        description="A position in the log of facts. A read with it as `after` waits until it reflects this position.",
        examples=["c12"],
    ),
]
ChatIdentity = Annotated[str, Field(examples=[examples.CHAT])]
MessageIdentity = Annotated[str, Field(examples=[examples.MESSAGE])]
AnswerIdentity = Annotated[str, Field(examples=[examples.ANSWER])]
Metadata = Annotated[dict[str, Any], Field(examples=[{"colour": "green"}])]
Status = Literal["queued", "generating", "completed", "failed", "cancelled"]


class FieldError(BaseModel):
    """One field that is not valid."""

    field: str = Field(description="The path of the field: `params.temperature`, `content.0.text`.")
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457). Programs decide by `type`; `detail` is for people."""

    type: str = Field(pattern="^urn:unspool:[a-z-]+$")
    title: str
    status: int
    detail: str
    errors: list[FieldError] = Field(
        default=[], description="With `invalid` and `unknown-model`: every field that is not valid."
    )
    answer: str = Field(default="", description="With `answer-in-progress`: the answer in generation.")


class Chat(BaseModel):
    """A chat without its messages."""

    id: ChatIdentity
    title: str | None
    model: str | None = Field(description="The default model of the chat's messages.")
    system: str | None
    metadata: Metadata
    archived: bool
    created_at: datetime
    updated_at: datetime | None = Field(
        default=None, description="The time of the last activity. Absent in responses to `POST` and `PATCH`."
    )
    generating: bool = Field(description="True while an answer is being generated.")
    cursor: FactsCursor


class ChatPage(BaseModel):
    """One page of a list of chats."""

    data: list[Chat]
    next: str | None = Field(
        description="Pass it as `before` for the next page. Null on the last page.", examples=["c7"]
    )
    cursor: FactsCursor


class TextPart(BaseModel):
    """One text part of a message."""

    type: Literal["text"]
    text: str


class ToolCall(BaseModel):
    """A tool call of the model, or a fragment of one in a `token` event."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = Field(
        default="", description="The arguments as the model wrote them. They should be JSON."
    )


class Usage(BaseModel):
    """Token counts of the provider, summed over all attempts."""

    input_tokens: int
    output_tokens: int


class AnswerError(BaseModel):
    """The reason of a failed answer."""

    code: str = Field(examples=["provider-refused"])
    title: str
    detail: str
    status: int | None = Field(description="The HTTP status of the provider's response.")


class Attempt(BaseModel):
    """The range of token events that one attempt produced."""

    attempt: int
    first_index: int
    last_index: int
    model: str


class _Generated(BaseModel):
    """Fields that an answer has in every document."""

    status: Status
    text: str
    reasoning: str
    tool_calls: list[ToolCall]
    model: str | None
    finish_reason: str | None = Field(examples=["stop"])
    usage: Usage | None = Field(
        description="Null until the answer ends, or if the provider does not report it."
    )
    error: AnswerError | None = Field(description="The reason of a failed answer; null otherwise.")
    attempts: list[Attempt] | None = Field(description="Null until the answer ends.")
    left_out: int = Field(description="Number of messages that did not fit into the model's context window.")


class Answer(_Generated):
    """An answer, in generation or ended."""

    id: AnswerIdentity
    cursor: str | None = Field(
        description="The id of the newest stream event. Send it as `Last-Event-ID` to continue from this document.",
        examples=["1.57"],
    )


class UserMessage(BaseModel):
    """A message of the user."""

    id: MessageIdentity
    role: Literal["user"]
    parent_id: str | None = Field(
        description="The answer that this message replies to. Null for a first message."
    )
    created_at: datetime
    metadata: Metadata
    content: list[TextPart]


class AssistantMessage(_Generated):
    """An answer as a message of its chat."""

    id: AnswerIdentity
    role: Literal["assistant"]
    parent_id: str = Field(description="The message that this answer replies to.")
    created_at: datetime
    ended_at: datetime | None
    metadata: Metadata
    params: dict[str, Any]
    cursor: str | None = Field(
        default=None, description="Present in generation: the id of the newest stream event."
    )


class ChatWithMessages(Chat):
    """A chat with all its messages."""

    messages: list[Annotated[UserMessage | AssistantMessage, Field(discriminator="role")]] = Field(
        description="A tree by `parent_id`, in request order. Siblings are edits or regenerated answers."
    )


class Accepted(BaseModel):
    """The request is stored in the log and will be answered, even if processes fail."""

    message: MessageIdentity
    answer: AnswerIdentity
    stream: str = Field(examples=[f"/v1/answers/{examples.ANSWER}/stream"])
    cursor: FactsCursor


class Model(BaseModel):
    """A model of a provider."""

    id: str = Field(description="Use it as the `model` of a chat or a message.", examples=["demo/200x20ms"])
    object: Literal["model"]
    owned_by: str = Field(description="The provider's name.")
    kind: str


class Models(BaseModel):
    """The models of all providers."""

    object: Literal["list"]
    data: list[Model]


class Alive(BaseModel):
    """The process serves requests."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """The process' readiness, with the result of each check: `ok` or the reason."""

    status: Literal["ok", "degraded", "not ready", "closing"]
    checks: dict[str, str]


# --- events of streams -------------------------------------------------------------------------------


class Started(BaseModel):
    """An attempt began. This event has no id."""

    attempt: int
    model: str
    left_out: int = Field(
        default=0, description="Number of messages that did not fit into the model's context window."
    )


class Token(BaseModel):
    """A piece of the answer: exactly one of the three fields."""

    text: str = ""
    reasoning: str = ""
    tool_call: ToolCall | None = Field(
        default=None, description="Concatenate the fragments of the same `index`."
    )


class Reset(BaseModel):
    """Discard the text so far: another attempt starts from the beginning."""

    attempt: int


class Snapshot(BaseModel):
    """The whole answer so far. It replaces everything that the client has."""

    text: str
    reasoning: str
    tool_calls: list[ToolCall] = []
    attempt: int
    index: int


class Done(BaseModel):
    """The last event of every answer. If the stream ends without it, connect again."""

    status: Literal["completed", "failed", "cancelled"]
    finish_reason: str | None
    usage: Usage
    last_index: int
    cursor: FactsCursor
    error: AnswerError | None = None


class Happened(BaseModel, extra="allow"):
    """An event of a chat, with the fields that a list needs: `title`, `message`, `answer`, `status`, ..."""

    chat: ChatIdentity


class Reload(BaseModel):
    """The cursor is too old. Load the list again, then continue with this stream."""
