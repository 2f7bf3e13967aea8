"""Routes of answers: read, stream, regenerate, cancel."""

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response
from fastapi.responses import JSONResponse

from services.api.commands.decisions import RequestAnswer, RequestCancel
from services.api.http import documents
from services.api.http.bodies import RegenerateBody
from services.api.http.dependencies import Context, InjectedContext, Owner
from services.api.http.event_stream import EventStream
from services.api.http.json_body import JsonRoute
from services.api.http.openapi import examples, responses
from services.api.http.parameters import (
    After,
    AfterAnswerEvent,
    AnswerInPath,
    IdempotencyKey,
    LastAnswerEvent,
    parse_last_event,
)
from services.api.http.routes_chats import (
    check_sizes,
    choose_local_id,
    parse_after,
    request_hash,
    resolve_model,
    respond_accepted,
)
from services.api.streaming import sse
from services.api.streaming.streams import Nothing
from shared.domain import subjects
from shared.domain.errors import NotFound
from shared.domain.subjects import AnswerId

router = APIRouter(prefix="/v1", tags=["answers"], route_class=JsonRoute)


def parse_answer_id(text: str) -> AnswerId:
    """Returns the id in a path. Raises `NotFound` if the text cannot be an answer's id."""
    if not subjects.is_answer_id(text):
        raise NotFound("answer", text)
    return AnswerId(text)


@router.get(
    "/answers/{answer}",
    summary="Read an answer",
    responses=responses.READ_ANSWER,
)
async def read_answer(
    answer: AnswerInPath, context: InjectedContext, owner: Owner, after: After = None
) -> JSONResponse:
    """Returns the answer. While it is being generated, the document holds the text so far and a `cursor`."""
    id_ = parse_answer_id(answer)
    if parse_after(after) > context.facts_follower.position:
        await context.states.fresh(subjects.chat_of(id_))
    return JSONResponse(await read_answer_document(context, id_, owner))


async def read_answer_document(context: Context, answer: AnswerId, owner: str) -> documents.Document:
    """Returns the answer's document. Raises `NotFound` if the owner has no such answer."""
    node = await context.streams.find_node(answer, owner)
    end = await context.streams.read_end(node)
    if end is not None:
        return documents.ended_answer(end[0])
    hot = context.hot_log.get(answer) or await context.hot_log.read(answer)
    if hot.end is not None and hot.done:
        return documents.ended_answer(hot.end[0])
    return documents.running_answer(answer, hot.state())


@router.get(
    "/answers/{answer}/stream",
    summary="Stream an answer",
    response_class=EventStream,
    responses=responses.STREAM_ANSWER,
)
async def stream_answer(
    answer: AnswerInPath,
    context: InjectedContext,
    owner: Owner,
    last_event_id: LastAnswerEvent = None,
    after: AfterAnswerEvent = None,
) -> Response:
    """Streams the answer as server-sent events: from its start, or from the event after `Last-Event-ID`.

    Responds `204` if the client already has the last event. If the connection closes without `done`, connect again.
    """
    cursor = parse_last_event(last_event_id or after, sse.parse_cursor, example="1.57")
    id_ = parse_answer_id(answer)
    opened = await context.streams.open(id_, owner, cursor)
    if isinstance(opened, Nothing):
        return Response(status_code=204)
    first = sse.preamble(context.settings.client_retry_milliseconds)
    return EventStream(first, context.streams.make_body(opened, id_, owner))


@router.post(
    "/answers/{answer}/regenerate", status_code=202, summary="Regenerate an answer", responses=responses.ASKED
)
async def regenerate(
    answer: AnswerInPath,
    body: Annotated[RegenerateBody, Body(openapi_examples=examples.REGENERATE)],
    request: Request,
    context: InjectedContext,
    owner: Owner,
    key: IdempotencyKey = None,
) -> Response:
    """Requests another answer to the same message: a sibling of this one, which does not change."""
    beside = parse_answer_id(answer)
    chat = subjects.chat_of(beside)
    params = body.params.to_dict()
    check_sizes(context, params=params)
    node = await context.streams.find_node(beside, owner)
    new = subjects.answer_id(chat, choose_local_id(body.id, owner, key))
    command = RequestAnswer(
        chat=chat,
        owner=owner,
        beside=beside,
        answer=new,
        model=await resolve_model(
            context, chat, body.model or node.model, lambda state: new in state.answers
        ),
        params=params,
        request_hash=request_hash(body),
        messages_max=context.settings.chat_messages_max,
    )
    state = (await context.commands.execute(command)).state
    return await respond_accepted(request, context, owner, node.message, new, state.answers[new].sequence)


@router.post(
    "/answers/{answer}/cancel",
    status_code=202,
    summary="Stop an answer",
    responses=responses.CANCEL,
)
async def cancel(answer: AnswerInPath, context: InjectedContext, owner: Owner) -> JSONResponse:
    """Stops an answer and keeps its text so far. Responds `202` while it stops, `200` if it has already ended."""
    id_ = parse_answer_id(answer)
    command = RequestCancel(chat=subjects.chat_of(id_), owner=owner, answer=id_)
    state = (await context.commands.execute(command)).state
    ended = state.answers[id_].ended is not None
    return JSONResponse(await read_answer_document(context, id_, owner), 200 if ended else 202)
