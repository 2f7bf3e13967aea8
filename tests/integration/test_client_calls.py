"""The client's calls against servers that misbehave: asked again under the same id, or refused with the reason."""

import pytest
from unspool_client import (
    Client,
    ConfigurationError,
    Conflict,
    ContractBroken,
    Missing,
    Patience,
    Refused,
    Unreachable,
)

from tests.support.misbehaving_server import ANSWER, SOON, Misbehaving, client_of, hang_up, respond

ACCEPTED = {"message": "m", "answer": "a", "stream": "/v1/answers/a/stream", "cursor": "c2"}
CHAT = {"id": "chat", "cursor": "c1"}


async def test_a_question_that_may_have_been_heard_is_asked_again_under_the_same_id() -> None:
    acts = (hang_up(), respond(503, {"title": "No"}, retry_after="1"), respond(202, ACCEPTED))
    async with Misbehaving(*acts) as server, client_of(server) as client:
        accepted = await client.post("chat", "What?", model="a/model")
        assert accepted.answer == "a"
        assert len({request.body for request in server.requests}) == 1
        first = server.requests[0]
        assert first.line == "POST /v1/chats/chat/messages HTTP/1.1"
        assert first.json == {"id": first.json["id"], "content": "What?", "model": "a/model"}


async def test_each_question_has_an_id_of_its_own() -> None:
    async with (
        Misbehaving(respond(202, ACCEPTED), respond(202, ACCEPTED)) as server,
        client_of(server) as client,
    ):
        await client.post("chat", "What?")
        await client.post("chat", "What?", parent_id=None)
        one, other = (request.json for request in server.requests)
        assert one["id"] != other["id"]
        assert ("parent_id" in one, other["parent_id"]) == (False, None)


async def test_every_call_that_makes_something_is_repeated_under_the_same_id() -> None:
    answers = (respond(201, CHAT), respond(202, ACCEPTED))
    async with (
        Misbehaving(hang_up(), answers[0], hang_up(), answers[1]) as server,
        client_of(server) as client,
    ):
        await client.create_chat(title="T")
        await client.regenerate(ANSWER)
        bodies = [request.json for request in server.requests]
        assert (bodies[0], bodies[2]) == (bodies[1], bodies[3])
        assert bodies[0]["id"]
        assert bodies[2]["id"]


async def test_a_refused_call_is_not_repeated_and_says_which_field() -> None:
    problem = {
        "title": "Not valid",
        "detail": "too long",
        "errors": [{"field": "content", "message": "too long"}],
    }
    acts = (respond(422, problem), respond(409, {"title": "Busy"}))
    async with Misbehaving(*acts) as server, client_of(server) as client:
        with pytest.raises(Refused, match="Not valid: content: too long") as refused:
            await client.post("chat", "What?")
        assert (refused.value.status, refused.value.problem.detail) == (422, "too long")
        with pytest.raises(Conflict, match="Busy"):
            await client.post("chat", "What?")


async def test_a_call_is_given_up_in_time_with_the_reason() -> None:
    patience = Patience(first_wait_seconds=60, call_seconds=1.0)
    busy = respond(503, {"title": "The log does not answer"})
    async with Misbehaving(busy) as server, client_of(server, patience=patience) as client:
        with pytest.raises(Unreachable, match=f"{server.url}: The log does not answer"):
            await client.models()


async def test_what_is_not_unspool_is_said_to_be_so() -> None:
    async with Misbehaving(respond(200, ["hello"])) as server, client_of(server) as client:
        with pytest.raises(ContractBroken):
            await client.models()


async def test_a_no_of_another_server_names_it() -> None:
    async with Misbehaving(respond(404, {"error": "no route"})) as server, client_of(server) as client:
        with pytest.raises(Missing, match=f"404 Said from {server.url}/v1/chats"):
            await client.list_chats(q="x")
        assert server.requests[0].line == "GET /v1/chats?limit=50&archived=false&q=x HTTP/1.1"


async def test_the_key_is_sent_and_ids_cannot_lead_elsewhere() -> None:
    async with Misbehaving(respond(200, {"id": "x", "status": "completed"})) as server:
        async with Client(server.url, "secret", patience=SOON) as client:
            await client.answer("../chats?x=#y")
        (request,) = server.requests
        assert request.headers["authorization"] == "Bearer secret"
        assert request.line == "GET /v1/answers/..%2Fchats%3Fx%3D%23y HTTP/1.1"


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host:port", ""])
def test_what_is_no_url_of_a_server_is_said_at_once(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Client(url)


def test_a_key_that_fits_no_header_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError):
        Client("http://127.0.0.1:8000", "kéy\n")
