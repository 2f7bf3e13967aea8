"""Answers over HTTP: read, stream, resume."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from services.api.commands.decisions import RequestAnswer, RequestCancel
from services.api.http import documents
from services.api.http.bodies import RegenerateBody
from services.api.http.dependencies import Context, Here, Owner
from services.api.http.event_stream import EventStream
from services.api.http.json_body import JsonRoute
from services.api.http.openapi import examples, responses
from services.api.http.parameters import (
    After,
    AfterAnswerEvent,
    AnswerInPath,
    IdempotencyKey,
    LastAnswerEvent,
)
from services.api.http.problems import Refused
from services.api.http.routes_chats import (
    accepted,
    check_sizes,
    local_id,
    model_of,
    parsed_cursor,
    request_hash,
)
from services.api.streaming import sse
from services.api.streaming.sse import Cursor
from services.api.streaming.streams import Nothing
from shared.domain import subjects
from shared.domain.answer import outcome_of
from shared.domain.errors import NotFound
from shared.domain.subjects import AnswerId

router = APIRouter(prefix="/v1", tags=["answers"], route_class=JsonRoute)


def answer_id(text: str) -> AnswerId:
    """The canonical form of an id in a path. What cannot be an id is not found."""
    if not subjects.is_answer_id(text):
        raise NotFound("answer", text)
    return AnswerId(text)


@router.get(
    "/answers/{answer}",
    summary="Read an answer",
    responses=responses.READ_ANSWER,
)
async def read_answer(answer: AnswerInPath, here: Here, owner: Owner, after: After = None) -> JSONResponse:
    """An answer as it stands, also while it is being made."""
    id_ = answer_id(answer)
    if parsed_cursor(after) > here.facts_follower.position:
        await here.states.fresh(subjects.chat_of(id_))
    return JSONResponse(await answer_document(here, id_, owner))


async def answer_document(here: Context, answer: AnswerId, owner: str) -> documents.Document:
    node = await here.streams.node(answer, owner)
    end = await here.streams.end_of(node)
    if end is not None:
        return documents.answer_ended(end[0], outcome_of(end[0]))
    hot = here.hot_log.get(answer) or await here.hot_log.read(answer)
    if hot.end is not None and hot.done:
        return documents.answer_ended(hot.end[0], outcome_of(hot.end[0]))
    return documents.answer_running(answer, hot.state())


@router.get(
    "/answers/{answer}/stream",
    summary="Stream an answer",
    response_class=EventStream,
    responses=responses.STREAM_ANSWER,
)
async def stream_answer(
    answer: AnswerInPath,
    here: Here,
    owner: Owner,
    last_event_id: LastAnswerEvent = None,
    after: AfterAnswerEvent = None,
) -> Response:
    """The answer as server-sent events: from its beginning, or from the event after `Last-Event-ID`.

    `204` when the client has all that there will ever be. A close without `done` means: connect again.
    """
    cursor = parse_cursor(last_event_id or after)
    id_ = answer_id(answer)
    opened = await here.streams.open(id_, owner, cursor)
    if isinstance(opened, Nothing):
        return Response(status_code=204)
    first = sse.preamble(here.settings.client_retry_milliseconds)
    return EventStream(first, here.streams.bytes_of(opened, id_, owner))


@router.post(
    "/answers/{answer}/regenerate", status_code=202, summary="Make another answer", responses=responses.ASKED
)
async def regenerate(
    answer: AnswerInPath,
    body: Annotated[RegenerateBody, Body(openapi_examples=examples.REGENERATE)],
    request: Request,
    here: Here,
    owner: Owner,
    key: IdempotencyKey = None,
) -> Response:
    """Asks for another answer to the same message: a sibling of this one, which stays as it is."""
    beside = answer_id(answer)
    chat = subjects.chat_of(beside)
    params = body.params.given()
    check_sizes(here, params=params)
    node = await here.streams.node(beside, owner)
    new = subjects.answer_id(chat, local_id(body.id, owner, key))
    command = RequestAnswer(
        chat=chat,
        owner=owner,
        beside=beside,
        answer=new,
        model=await model_of(here, chat, body.model or node.model, lambda state: new in state.answers),
        params=params,
        request_hash=request_hash(body),
        messages_max=here.settings.chat_messages_max,
    )
    state = await here.commands.execute(command)
    return await accepted(request, here, owner, node.message, new, state.answers[new].sequence)


@router.post(
    "/answers/{answer}/cancel",
    status_code=202,
    summary="Stop an answer",
    responses=responses.CANCEL,
)
async def cancel(answer: AnswerInPath, here: Here, owner: Owner) -> JSONResponse:
    """Stops an answer; its text so far stays. `202` while it stops, `200` with the answer if it has ended."""
    id_ = answer_id(answer)
    command = RequestCancel(chat=subjects.chat_of(id_), owner=owner, answer=id_)
    state = await here.commands.execute(command)
    ended = state.answers[id_].ended is not None
    return JSONResponse(await answer_document(here, id_, owner), 200 if ended else 202)


def parse_cursor(text: str | None) -> Cursor | None:
    """Raises `400` for what is no cursor at all."""
    if not text:
        return None
    cursor = sse.parse_cursor(text)
    if cursor is None:
        raise Refused("bad-cursor", "It is the id of an event of this stream, such as 1.57.")
    return cursor
