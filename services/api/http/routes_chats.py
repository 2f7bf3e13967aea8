"""Chats and messages over HTTP: create, list, read, ask."""

import hashlib
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import msgspec
from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from msgspec import UNSET, UnsetType
from pydantic import BaseModel

from services.api.commands.decisions import ChangeChat, CreateChat, DeleteChat, RequestMessage
from services.api.http import documents
from services.api.http.bodies import CreateChatBody, PatchChatBody, PostMessageBody, too_large
from services.api.http.dependencies import Context, Here, Owner
from services.api.http.event_stream import EventStream
from services.api.http.json_body import JsonRoute
from services.api.http.openapi import examples, responses
from services.api.http.parameters import After, Before, ChatInPath, IdempotencyKey
from services.api.http.search import like_pattern, words_query
from services.api.streaming import sse
from shared.domain import subjects
from shared.domain.chat import ChatState, check_exists
from shared.domain.errors import Invalid, LogUnavailable, NotFound, UnknownModel
from shared.domain.subjects import AnswerId, ChatId, Sequence

router = APIRouter(prefix="/v1", tags=["chats"], route_class=JsonRoute)


def request_hash(body: BaseModel) -> str:
    """Of what the client asked for, its id apart: the same id with other content is seen by it."""
    asked = body.model_dump(mode="json", exclude={"id"}, exclude_unset=True)
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


def local_id(given: str | None, owner: str, key: str | None) -> str:
    return given or (subjects.keyed_id(owner, key) if key else str(uuid4()))


def check_sizes(here: Context, **fields: Any) -> None:  # noqa: ANN401 - any field's value
    for field, value in fields.items():
        if wrong := too_large(here.settings, field, value):
            raise Invalid(field, wrong)


def chat_id(text: str) -> ChatId:
    """The canonical form of an id in a path. What cannot be an id is not found."""
    found = subjects.client_id(text)
    if found is None:
        raise NotFound("chat", text)
    return ChatId(found)


def parsed_cursor(after: str | None) -> Sequence:
    """0 for none."""
    if after is None:
        return Sequence(0)
    sequence = sse.parse_facts_cursor(after)
    if sequence is None:
        raise Invalid("after", "must be a cursor such as c123")
    return sequence


async def wait_for(here: Context, after: str | None) -> None:
    if sequence := parsed_cursor(after):
        await here.reads.reached(sequence)


async def model_of(
    here: Context, chat: ChatId, wanted: str | None, is_done: Callable[[ChatState], bool]
) -> str:
    """The model's full name. A call that is repeated gets its answer also when its model has gone meanwhile."""
    try:
        return await here.catalogue.resolve(wanted)
    except UnknownModel as error:
        if is_done(await here.states.fresh(chat)):
            return error.model
        raise


@router.post(
    "/chats",
    status_code=201,
    summary="Create a chat",
    responses=responses.CREATE_CHAT,
)
async def create_chat(
    body: Annotated[CreateChatBody, Body(openapi_examples=examples.CREATE_CHAT)],
    here: Here,
    owner: Owner,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Creates a chat. The same call again, by `id` or `Idempotency-Key`, gives the same chat."""
    check_sizes(here, title=body.title, system=body.system, metadata=body.metadata)
    chat = ChatId(local_id(body.id, owner, key))
    command = CreateChat(
        chat=chat,
        owner=owner,
        title=body.title,
        model=await model_of(here, chat, body.model, lambda state: state.created > 0) if body.model else None,
        system=body.system,
        metadata=body.metadata,
        request_hash=request_hash(body),
    )
    known = (await here.states.get(chat)).created
    state = await here.commands.execute(command)
    stored = await here.log.at(subjects.CHATS, state.created)
    document = documents.chat_of_state(state, stored.time if stored else None)
    return JSONResponse(document, 200 if known else 201, headers={"location": f"/v1/chats/{chat}"})


@router.get(
    "/chats",
    summary="List chats",
    responses=responses.LIST_CHATS,
)
async def list_chats(
    here: Here,
    owner: Owner,
    limit: Annotated[int, Query(ge=1)] = 50,
    before: Before = None,
    archived: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    q: Annotated[
        str | None, Query(max_length=200, description="Words or a part of a text, in titles and messages.")
    ] = None,
    after: After = None,
) -> JSONResponse:
    """Newest activity first. `next` is the `before` of the next page; null on the last."""
    await wait_for(here, after)
    limit = min(limit, here.settings.page_max)
    bound = None if before is None else sse.parse_facts_cursor(before)
    if before is not None and bound is None:
        raise Invalid("before", "must be the `next` of a page")
    page = (owner, archived, bound, limit + 1)
    cursor = await here.reads.position()
    if q and (text := q.replace("\0", "").strip()):
        rows = await here.reads.rows("search", *page, words_query(text), like_pattern(text))
    else:
        rows = await here.reads.rows("chats", *page)
    more = len(rows) > limit
    # A projector that lags shows no chat again that this process knows to be deleted.
    shown = [row for row in rows[:limit] if not here.states.is_deleted(ChatId(row["id"]))]
    data = [documents.chat_of_row(row, generating=row["generating"]) for row in shown]
    following = sse.facts_cursor(Sequence(rows[limit - 1]["active"])) if more else None
    return JSONResponse({"data": data, "next": following, "cursor": sse.facts_cursor(cursor)})


@router.get(
    "/chats/{chat}",
    summary="Read a chat",
    responses=responses.READ_CHAT,
)
async def read_chat(
    chat: ChatInPath,
    here: Here,
    owner: Owner,
    after: After = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The chat with its messages, a tree by `parent_id`."""
    await wait_for(here, after)
    id_ = chat_id(chat)
    found = await here.reads.chat(id_)
    if found is None:
        # Not in the rows yet is no reason to say that there is none: the leader is asked, the rows waited for.
        state = await here.states.fresh(id_)
        check_exists(state, owner)
        await here.reads.reached(state.sequence)
        found = await here.reads.chat(id_)
    if found is None or found[0]["owner"] != owner or here.states.is_deleted(id_):
        raise NotFound("chat", id_)
    row, messages = found
    running = [message["id"] for message in messages if message["status"] == "running"]
    partial = {answer: await _partial(here, AnswerId(answer)) for answer in running}
    etag = _etag(row["sequence"], partial)
    if if_none_match is not None and etag in {tag.strip() for tag in if_none_match.split(",")}:
        return Response(status_code=304, headers={"etag": etag})
    document = documents.chat_of_row(row, generating=bool(running))
    nodes = [documents.message_of_row(message) for message in messages]
    document["messages"] = [node | partial.get(node["id"], {}) for node in nodes]
    return JSONResponse(document, headers={"etag": etag})


async def _partial(here: Context, answer: AnswerId) -> documents.Document:
    """What there is of an answer that is being made: from the hot log."""
    try:
        hot = here.hot_log.get(answer) or await here.hot_log.read(answer)
    except LogUnavailable:  # history goes on without the log; what is under way is then not known
        return {"cursor": None}
    running = documents.answer_running(answer, hot.state())
    return {
        name: running[name] for name in ("status", "text", "reasoning", "tool_calls", "left_out", "cursor")
    }


def _etag(sequence: int, partial: dict[str, documents.Document]) -> str:
    return '"' + "-".join([f"c{sequence}", *(str(running["cursor"]) for running in partial.values())]) + '"'


@router.patch(
    "/chats/{chat}",
    summary="Change a chat",
    responses=responses.CHANGE_CHAT,
)
async def change_chat(
    chat: ChatInPath,
    body: Annotated[PatchChatBody, Body(openapi_examples=examples.CHANGE_CHAT)],
    here: Here,
    owner: Owner,
) -> JSONResponse:
    """Renames, archives or unarchives, sets metadata: what is left out stays as it is."""
    check_sizes(here, title=body.title, metadata=body.metadata)
    id_ = chat_id(chat)
    given = body.model_fields_set
    for field in given:
        if getattr(body, field) is None:
            raise Invalid(field, "must not be null; leave it out to keep it")
    command = ChangeChat(
        chat=id_,
        owner=owner,
        id=str(uuid4()),
        title=body.title if body.title is not None else UNSET,
        archived=body.archived if body.archived is not None else UNSET,
        metadata=body.metadata if body.metadata is not None else UNSET,
    )
    state = await here.commands.execute(command)
    stored = await here.log.at(subjects.CHATS, state.created)
    return JSONResponse(documents.chat_of_state(state, stored.time if stored else None))


@router.delete(
    "/chats/{chat}",
    status_code=204,
    summary="Delete a chat",
    responses=responses.DELETE_CHAT,
)
async def delete_chat(chat: ChatInPath, here: Here, owner: Owner) -> Response:
    """Log, tokens and rows go; an answer that is being made stops. Nothing brings it back; again gives `204` again."""
    id_ = chat_id(chat)
    state = await here.commands.execute(DeleteChat(chat=id_, owner=owner))
    await here.commands.purge(id_)
    return Response(status_code=204, headers={"x-unspool-cursor": sse.facts_cursor(state.sequence)})


@router.post("/chats/{chat}/messages", status_code=202, summary="Ask", responses=responses.ASKED)
async def post_message(
    chat: ChatInPath,
    body: Annotated[PostMessageBody, Body(openapi_examples=examples.POST_MESSAGE)],
    request: Request,
    here: Here,
    owner: Owner,
    key: IdempotencyKey = None,
) -> Response:
    """Asks. `202` means that the question is in the log and will be answered, whatever dies.

    With `Accept: text/event-stream` the answer streams in this response, after an event `accepted`.
    """
    id_ = chat_id(chat)
    parts, params = body.parts(), body.params.given()
    check_sizes(here, content="\n".join(part.text for part in parts), metadata=body.metadata, params=params)
    state = await here.states.get(id_)
    local = local_id(body.id, owner, key)
    message, answer = subjects.message_id(id_, local), subjects.answer_id(id_, local)
    command = RequestMessage(
        chat=id_,
        owner=owner,
        message=message,
        answer=answer,
        content=parts,
        parent=_parent(body),
        model=await model_of(here, id_, body.model or state.model, lambda state: message in state.messages),
        params=params,
        metadata=body.metadata,
        request_hash=request_hash(body),
        messages_max=here.settings.chat_messages_max,
    )
    state = await here.commands.execute(command)
    return await accepted(request, here, owner, message, answer, state.messages[message].sequence)


def _parent(body: PostMessageBody) -> AnswerId | UnsetType | None:
    if body.parent_id is not None:
        return AnswerId(body.parent_id)
    return None if "parent_id" in body.model_fields_set else UNSET


async def accepted(
    request: Request, here: Context, owner: str, message: str, answer: AnswerId, sequence: Sequence
) -> Response:
    """The answer to every call that asks for an answer."""
    stream = f"/v1/answers/{answer}/stream"
    document = {"message": message, "answer": answer, "stream": stream, "cursor": sse.facts_cursor(sequence)}
    if "text/event-stream" not in request.headers.get("accept", ""):
        return JSONResponse(document, 202, headers={"location": stream})
    opened = await here.streams.open(answer, owner, None)
    first = sse.preamble(here.settings.client_retry_milliseconds) + sse.encode("accepted", document)
    return EventStream(first, here.streams.bytes_of(opened, answer, owner), 202)
