"""Request bodies as pydantic models, which FastAPI validates and documents. Size limits are settings."""

from typing import Annotated, Any, Literal, Self

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from shared.domain import subjects
from shared.domain.events import Content, TextPart
from shared.settings import Settings

PARTS_MAX = 1000
STOPS_MAX = 100
_STRING, _LIST = "a string", "a list"
KINDS = frozenset({_STRING, _LIST})
"""Tags that pydantic puts into an error's location for a value of several types; they are not field names."""


def _check_storable(text: str) -> str:
    """Returns the text unchanged. Raises `ValueError` for U+0000, which Postgres cannot store, and for a lone
    surrogate, which UTF-8 cannot encode.
    """
    if "\0" in text:
        raise ValueError("must not contain NUL (U+0000)")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("must not contain a lone surrogate") from error
    return text


def _parse_client_id(text: str) -> str:
    found = subjects.client_id(text)
    if found is None:
        raise ValueError("must be a UUID or a ULID")
    return found


def _check_answer_id(text: str) -> str:
    if not subjects.is_answer_id(text):
        raise ValueError("must be the id of an answer")
    return text


def _check_storable_json(value: dict[str, Any]) -> dict[str, Any]:
    """Returns the value unchanged. Raises `ValueError` if any string inside contains NUL or a lone surrogate."""
    try:
        encoded = msgspec.json.encode(value)
    except UnicodeEncodeError as error:
        raise ValueError("must not contain a lone surrogate") from error
    if b"\\u0000" in encoded and _has_nul(value):
        raise ValueError("must not contain NUL (U+0000)")
    return value


def _has_nul(value: Any) -> bool:  # noqa: ANN401 - JSON
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(key) or _has_nul(inner) for key, inner in value.items())
        case list():
            return any(_has_nul(inner) for inner in value)
        case _:
            return False


def _kind(value: object) -> str | None:
    return _STRING if isinstance(value, str) else _LIST if isinstance(value, list) else None


_STRING_OR_LIST = Discriminator(
    _kind, custom_error_type="kind", custom_error_message="must be a string or a list"
)
_NOT_BLANK: dict[str, Any] = {"pattern": r"\S"}
Text = Annotated[str, AfterValidator(_check_storable)]
NotBlank = Annotated[Text, Field(json_schema_extra=_NOT_BLANK)]
_ID = "([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-7][0-9a-hjkmnp-tv-zA-HJKMNP-TV-Z]{25})"
ClientId = Annotated[
    str,
    AfterValidator(_parse_client_id),
    Field(
        description="A UUID or a ULID that the client chooses. Repeating a call with the same id is idempotent.",
        json_schema_extra={"pattern": f"^{_ID}$"},
    ),
]
ParentId = Annotated[
    str,
    AfterValidator(_check_answer_id),
    Field(
        description="The answer to reply to. Defaults to the newest answer; null makes a first message.",
        json_schema_extra={"pattern": f"^{_ID}_a{_ID}$"},
    ),
]
PlainJson = Annotated[dict[str, Any], AfterValidator(_check_storable_json)]
ModelName = Annotated[
    str,
    Field(min_length=1, max_length=200, description="One of `GET /v1/models`."),
    AfterValidator(_check_storable),
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPartBody(_Body):
    """One text part of a message."""

    type: Literal["text"]
    text: Text


_Parts = Annotated[list[TextPartBody], Field(min_length=1, max_length=PARTS_MAX, fail_fast=True)]
_Content = Annotated[Annotated[NotBlank, Tag(_STRING)] | Annotated[_Parts, Tag(_LIST)], _STRING_OR_LIST]
_Stops = Annotated[list[str], Field(max_length=STOPS_MAX, fail_fast=True)]
_Stop = Annotated[Annotated[str, Tag(_STRING)] | Annotated[_Stops, Tag(_LIST)], _STRING_OR_LIST]


class Params(BaseModel):
    """Parameters of the model. Known fields are validated; unknown fields go to the provider unchanged."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_output_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    stop: _Stop | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _check_extra_fields(self) -> Self:
        _check_storable_json(self.to_dict())
        return self

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields that are not null, unknown fields included."""
        return self.model_dump(exclude_none=True)


class CreateChatBody(_Body):
    """The body of `POST /v1/chats`."""

    id: ClientId | None = None
    title: NotBlank | None = None
    model: ModelName | None = None
    system: Text | None = None
    metadata: PlainJson = {}


class PostMessageBody(_Body):
    """The body of `POST /v1/chats/{chat}/messages`."""

    id: ClientId | None = None
    content: _Content
    parent_id: ParentId | None = None
    model: ModelName | None = None
    params: Params = Params()
    metadata: PlainJson = {}

    def parts(self) -> Content:
        """Returns the content as parts; a plain string becomes one text part."""
        if isinstance(self.content, str):
            return (TextPart(self.content),)
        return tuple(TextPart(part.text) for part in self.content)


class RegenerateBody(_Body):
    """The body of `POST /v1/answers/{answer}/regenerate`."""

    id: ClientId | None = None
    model: ModelName | None = None
    params: Params = Params()


class PatchChatBody(_Body):
    """The body of `PATCH /v1/chats/{chat}`. A field that is left out does not change; the route rejects null."""

    title: Annotated[Text | None, WithJsonSchema({"type": "string", **_NOT_BLANK})] = None
    archived: Annotated[bool | None, WithJsonSchema({"type": "boolean"})] = None
    metadata: Annotated[
        PlainJson | None, WithJsonSchema({"type": "object", "additionalProperties": True})
    ] = None


def size_error(settings: Settings, field: str, value: Any) -> str | None:  # noqa: ANN401 - any field's value
    """Returns the message for a field that exceeds its limit or is blank, or None if its size is allowed."""
    match field, value:
        case "title", str() if len(value) > settings.title_max_chars:
            return f"must have at most {settings.title_max_chars} characters"
        case "title", str() if not value.strip():
            return "must not be empty"
        case (("content" | "system"), str()) if len(value) > settings.message_max_chars:
            return f"must have at most {settings.message_max_chars} characters"
        case "content", str() if not value.strip():
            return "must not be empty"
        case "params", dict() if len(msgspec.json.encode(value)) > settings.params_max_bytes:
            return f"must have at most {settings.params_max_bytes} bytes"
        case "metadata", dict() if len(msgspec.json.encode(value)) > settings.metadata_max_bytes:
            return f"must have at most {settings.metadata_max_bytes} bytes"
        case _:
            return None
