"""Routes of chats and messages: create, list, read, change, delete, post a message."""

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
from services.api.http.bodies import CreateChatBody, PatchChatBody, PostMessageBody, size_error
from services.api.http.dependencies import Context, InjectedContext, Owner
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
    """Returns a hash of the body without its id. It detects a repeated id with different content."""
    asked = body.model_dump(mode="json", exclude={"id"}, exclude_unset=True)
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


def choose_local_id(given: str | None, owner: str, key: str | None) -> str:
    """Returns the client's id, else an id derived from the owner's idempotency key, else a new UUID."""
    return given or (subjects.keyed_id(owner, key) if key else str(uuid4()))


def check_sizes(context: Context, **fields: Any) -> None:  # noqa: ANN401 - any field's value
    """Raises `Invalid` for the first field that exceeds its limit."""
    for field, value in fields.items():
        if wrong := size_error(context.settings, field, value):
            raise Invalid(field, wrong)


def parse_chat_id(text: str) -> ChatId:
    """Returns the canonical form of an id in a path. Raises `NotFound` if the text cannot be a chat's id."""
    found = subjects.client_id(text)
    if found is None:
        raise NotFound("chat", text)
    return ChatId(found)


def parse_after(after: str | None) -> Sequence:
    """Returns the sequence of a cursor, or 0 for None. Raises `Invalid` if it is malformed."""
    if after is None:
        return Sequence(0)
    sequence = sse.parse_facts_cursor(after)
    if sequence is None:
        raise Invalid("after", "must be a cursor such as c123")
    return sequence


async def wait_for_cursor(context: Context, after: str | None) -> None:
    """Returns when the read model has reached the cursor. Raises `ReadModelBehind` if that takes too long."""
    if sequence := parse_after(after):
        await context.reads.wait_for(sequence)


async def resolve_model(
    context: Context, chat: ChatId, wanted: str | None, is_done: Callable[[ChatState], bool]
) -> str:
    """Returns the model's full name. Raises `UnknownModel`, unless the chat shows that the same call succeeded
    before: a repeated call succeeds also after its model disappeared.
    """
    try:
        return await context.catalogue.resolve(wanted)
    except UnknownModel as error:
        if is_done(await context.states.fresh(chat)):
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
    context: InjectedContext,
    owner: Owner,
    key: IdempotencyKey = None,
) -> JSONResponse:
    """Creates a chat. Repeating the call with the same `id` or `Idempotency-Key` returns the same chat."""
    check_sizes(context, title=body.title, system=body.system, metadata=body.metadata)
    chat = ChatId(choose_local_id(body.id, owner, key))
    command = CreateChat(
        chat=chat,
        owner=owner,
        title=body.title,
        model=await resolve_model(context, chat, body.model, lambda state: state.created > 0)
        if body.model
        else None,
        system=body.system,
        metadata=body.metadata,
        request_hash=request_hash(body),
    )
    executed = await context.commands.execute(command)
    document = await _describe_chat(context, executed.state)
    return JSONResponse(document, 201 if executed.is_new else 200, headers={"location": f"/v1/chats/{chat}"})


@router.get(
    "/chats",
    summary="List chats",
    responses=responses.LIST_CHATS,
)
async def list_chats(
    context: InjectedContext,
    owner: Owner,
    limit: Annotated[int, Query(ge=1)] = 50,
    before: Before = None,
    archived: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    q: Annotated[
        str | None, Query(max_length=200, description="Words, or part of a text, in titles and messages.")
    ] = None,
    after: After = None,
) -> JSONResponse:
    """Lists chats, newest activity first. Pass `next` as `before` to get the next page; null marks the last page."""
    await wait_for_cursor(context, after)
    limit = min(limit, context.settings.page_max)
    bound = None if before is None else sse.parse_facts_cursor(before)
    if before is not None and bound is None:
        raise Invalid("before", "must be the `next` of a page")
    page = (owner, archived, bound, limit + 1)
    cursor = await context.reads.position()
    if q and (text := q.replace("\0", "").strip()):
        rows = await context.reads.rows("search", *page, words_query(text), like_pattern(text))
    else:
        rows = await context.reads.rows("chats", *page)
    more = len(rows) > limit
    # The projector may lag: hide chats that this process knows to be deleted.
    shown = [row for row in rows[:limit] if not context.states.is_deleted(ChatId(row["id"]))]
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
    context: InjectedContext,
    owner: Owner,
    after: After = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Returns the chat with its messages, which form a tree by `parent_id`."""
    await wait_for_cursor(context, after)
    id_ = parse_chat_id(chat)
    found = await context.reads.chat(id_)
    if found is None:
        # The rows may lag behind the log: ask the leader before reporting `not-found`, then wait for the rows.
        state = await context.states.fresh(id_)
        check_exists(state, owner)
        await context.reads.wait_for(state.sequence)
        found = await context.reads.chat(id_)
    if found is None or found[0]["owner"] != owner or context.states.is_deleted(id_):
        raise NotFound("chat", id_)
    row, messages = found
    running = [message["id"] for message in messages if message["status"] == "running"]
    partial = {answer: await _partial(context, AnswerId(answer)) for answer in running}
    etag = _etag(row["sequence"], partial)
    if if_none_match is not None and etag in {tag.strip() for tag in if_none_match.split(",")}:
        return Response(status_code=304, headers={"etag": etag})
    document = documents.chat_of_row(row, generating=bool(running))
    nodes = [documents.message_of_row(message) for message in messages]
    document["messages"] = [node | partial.get(node["id"], {}) for node in nodes]
    return JSONResponse(document, headers={"etag": etag})


async def _partial(context: Context, answer: AnswerId) -> documents.Document:
    """Returns the fields of an answer in generation, from the hot log."""
    try:
        hot = context.hot_log.get(answer) or await context.hot_log.read(answer)
    except LogUnavailable:  # The history is served without the log, then without the text in generation.
        return {"cursor": None}
    running = documents.running_answer(answer, hot.state())
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
    context: InjectedContext,
    owner: Owner,
) -> JSONResponse:
    """Renames, archives, unarchives, or replaces metadata. A field that is left out does not change."""
    check_sizes(context, title=body.title, metadata=body.metadata)
    id_ = parse_chat_id(chat)
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
    state = (await context.commands.execute(command)).state
    return JSONResponse(await _describe_chat(context, state))


async def _describe_chat(context: Context, state: ChatState) -> documents.Document:
    """Returns the chat's document after a command; the log has the time at which the chat was created."""
    return documents.chat_of_state(state, await context.states.time_of(state.created))


@router.delete(
    "/chats/{chat}",
    status_code=204,
    summary="Delete a chat",
    responses=responses.DELETE_CHAT,
)
async def delete_chat(chat: ChatInPath, context: InjectedContext, owner: Owner) -> Response:
    """Deletes the chat for good: events, tokens and rows. An answer in generation stops. Repeating the call is safe."""
    id_ = parse_chat_id(chat)
    state = (await context.commands.execute(DeleteChat(chat=id_, owner=owner))).state
    await context.commands.purge(id_)
    return Response(status_code=204, headers={"x-unspool-cursor": sse.facts_cursor(state.sequence)})


@router.post("/chats/{chat}/messages", status_code=202, summary="Post a message", responses=responses.ASKED)
async def post_message(
    chat: ChatInPath,
    body: Annotated[PostMessageBody, Body(openapi_examples=examples.POST_MESSAGE)],
    request: Request,
    context: InjectedContext,
    owner: Owner,
    key: IdempotencyKey = None,
) -> Response:
    """Posts a message and requests its answer. `202` means that the request is stored in the log: it will be
    answered even if processes fail.

    With `Accept: text/event-stream`, this response streams the answer after an `accepted` event.
    """
    id_ = parse_chat_id(chat)
    parts, params = body.parts(), body.params.to_dict()
    check_sizes(
        context, content="\n".join(part.text for part in parts), metadata=body.metadata, params=params
    )
    state = await context.states.get(id_)
    local = choose_local_id(body.id, owner, key)
    message, answer = subjects.message_id(id_, local), subjects.answer_id(id_, local)
    command = RequestMessage(
        chat=id_,
        owner=owner,
        message=message,
        answer=answer,
        content=parts,
        parent=_parent(body),
        model=await resolve_model(
            context, id_, body.model or state.model, lambda state: message in state.messages
        ),
        params=params,
        metadata=body.metadata,
        request_hash=request_hash(body),
        messages_max=context.settings.chat_messages_max,
    )
    state = (await context.commands.execute(command)).state
    return await respond_accepted(request, context, owner, message, answer, state.messages[message].sequence)


def _parent(body: PostMessageBody) -> AnswerId | UnsetType | None:
    if body.parent_id is not None:
        return AnswerId(body.parent_id)
    return None if "parent_id" in body.model_fields_set else UNSET


async def respond_accepted(
    request: Request, context: Context, owner: str, message: str, answer: AnswerId, sequence: Sequence
) -> Response:
    """Returns the response to a call that requested an answer: 202, or a stream that begins with `accepted`."""
    stream = f"/v1/answers/{answer}/stream"
    document = {"message": message, "answer": answer, "stream": stream, "cursor": sse.facts_cursor(sequence)}
    if "text/event-stream" not in request.headers.get("accept", ""):
        return JSONResponse(document, 202, headers={"location": stream})
    opened = await context.streams.open(answer, owner, None)
    first = sse.preamble(context.settings.client_retry_milliseconds) + sse.encode("accepted", document)
    return EventStream(first, context.streams.make_body(opened, answer, owner), 202)
