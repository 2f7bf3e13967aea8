"""Path, query and header parameters of the routes. The patterns only document the parameters in OpenAPI: the routes
validate the values themselves, because their error messages are more precise than a pattern.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Header, Path, Query

from services.api.http.openapi import examples
from services.api.http.problems import Refused

_FACTS_CURSOR: dict[str, Any] = {"pattern": "^c[0-9]{1,18}$"}
_FEED_CURSOR: dict[str, Any] = {"pattern": "^(c[0-9]{1,18})?$"}
_ANSWER_CURSOR: dict[str, Any] = {"pattern": "^([1-9][0-9]{0,8}[.](end|[1-9][0-9]{0,17}r?))?$"}
_LAST_EVENT = "The id of the last event that the client received. The stream resumes after it."
_NO_HEADER = "Same as `Last-Event-ID`, for clients that cannot set headers. The header takes precedence."

ChatInPath = Annotated[
    str, Path(description="The chat's id.", openapi_examples=examples.parameter_example(examples.CHAT))
]
AnswerInPath = Annotated[
    str, Path(description="The answer's id.", openapi_examples=examples.parameter_example(examples.ANSWER))
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="An alternative to `id` in the body. Repeating a call with the same key is idempotent.",
    ),
]
After = Annotated[
    str | None,
    Query(
        description="A cursor. The response is at least as new as this cursor.",
        openapi_examples=examples.parameter_example("c1"),
        json_schema_extra=_FACTS_CURSOR,
    ),
]
Before = Annotated[
    str | None, Query(description="`next` of the previous page.", json_schema_extra=_FACTS_CURSOR)
]
LastFeedEvent = Annotated[
    str | None, Header(alias="Last-Event-ID", description=_LAST_EVENT, json_schema_extra=_FEED_CURSOR)
]
AfterFeedEvent = Annotated[
    str | None,
    Query(
        description=f"{_NO_HEADER} The `cursor` of a list is accepted too.",
        openapi_examples=examples.parameter_example("c1"),
        json_schema_extra=_FEED_CURSOR,
    ),
]
LastAnswerEvent = Annotated[
    str | None, Header(alias="Last-Event-ID", description=_LAST_EVENT, json_schema_extra=_ANSWER_CURSOR)
]
AfterAnswerEvent = Annotated[str | None, Query(description=_NO_HEADER, json_schema_extra=_ANSWER_CURSOR)]

C = TypeVar("C")


def parse_last_event(text: str | None, parse: Callable[[str], C | None], *, example: str) -> C | None:
    """Returns the position in a stream, or None for no text. Raises `Refused` (400) for a malformed one."""
    if not text:
        return None
    cursor = parse(text)
    if cursor is None:
        raise Refused("bad-cursor", f"Send the id of an event of this stream, such as {example}.")
    return cursor
