"""Parameters that routes take beside their bodies. Patterns are said here for who reads the OpenAPI document: what does
not match them is refused by the routes, with a better reason than a pattern.
"""

from typing import Annotated, Any

from fastapi import Header, Path, Query

from services.api.http.openapi import examples

_FACTS_CURSOR: dict[str, Any] = {"pattern": "^c[0-9]{1,18}$"}
_FEED_CURSOR: dict[str, Any] = {"pattern": "^(c[0-9]{1,18})?$"}
_ANSWER_CURSOR: dict[str, Any] = {"pattern": "^([1-9][0-9]{0,8}[.](end|[1-9][0-9]{0,17}))?$"}
_LAST_EVENT = "The id of the last event that the client has: the stream goes on after it."
_NO_HEADER = "As `Last-Event-ID`, for what cannot set a header. The header wins."

ChatInPath = Annotated[str, Path(description="Its id.", openapi_examples=examples.one(examples.CHAT))]
AnswerInPath = Annotated[str, Path(description="Its id.", openapi_examples=examples.one(examples.ANSWER))]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="In place of an `id` in the body: the same key again gives the same answer.",
    ),
]
After = Annotated[
    str | None,
    Query(
        description="A cursor: what is read is at least as new.",
        openapi_examples=examples.one("c1"),
        json_schema_extra=_FACTS_CURSOR,
    ),
]
Before = Annotated[
    str | None, Query(description="`next` of the page before.", json_schema_extra=_FACTS_CURSOR)
]
LastFeedEvent = Annotated[
    str | None, Header(alias="Last-Event-ID", description=_LAST_EVENT, json_schema_extra=_FEED_CURSOR)
]
AfterFeedEvent = Annotated[
    str | None,
    Query(
        description=f"{_NO_HEADER} A list's `cursor` is one too.",
        openapi_examples=examples.one("c1"),
        json_schema_extra=_FEED_CURSOR,
    ),
]
LastAnswerEvent = Annotated[
    str | None, Header(alias="Last-Event-ID", description=_LAST_EVENT, json_schema_extra=_ANSWER_CURSOR)
]
AfterAnswerEvent = Annotated[str | None, Query(description=_NO_HEADER, json_schema_extra=_ANSWER_CURSOR)]
