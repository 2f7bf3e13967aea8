"""Parameters that several routes take."""

from typing import Annotated

from fastapi import Header, Path, Query

from services.api import examples

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
        description="A cursor: wait until the history has come that far.", openapi_examples=examples.one("c1")
    ),
]
ChatInPath = Annotated[str, Path(description="Its id.", openapi_examples=examples.one(examples.CHAT))]
AnswerInPath = Annotated[str, Path(description="Its id.", openapi_examples=examples.one(examples.ANSWER))]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The id of the last event that the client has: the stream goes on after it.",
    ),
]
