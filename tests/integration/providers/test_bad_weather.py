"""Whatever a provider's server does, the caller gets a `ProviderError` that says what to do, and all that was said."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from services.generator.providers import (
    Delta,
    Finished,
    Prompt,
    PromptMessage,
    TextDelta,
    reply_decoder,
    upstream,
)
from services.generator.providers.openai import OpenAI
from services.generator.providers.retry import stream_with_retries
from shared.domain.errors import ProviderError, ProviderInterrupted, ProviderRefused, ProviderUnavailable
from shared.settings import ProviderSettings, Settings
from tests.support.provider_scripts import (
    Raw,
    Script,
    Step,
    document,
    event,
    head,
    openai,
    openai_events,
    status,
    stream,
)
from tests.support.scripted_provider import ScriptedProvider

PATIENT = Settings(provider_backoff_seconds=0.001, provider_retries_max=2)
IMPATIENT = Settings(provider_backoff_seconds=0.001, provider_idle_seconds=0.5)
BEGUN = openai_events("Hel", "lo")[:3]
FINISHED = openai_events("Hel", "lo")[:4]
PROMPT = Prompt(model="m", messages=(PromptMessage("user", "Hi"),))


@pytest.fixture
async def server() -> AsyncIterator[ScriptedProvider]:
    async with ScriptedProvider() as provider:
        yield provider


class Heard:
    def __init__(self) -> None:
        self.text = ""
        self.finished: Finished | None = None
        self.error: ProviderError | None = None

    def take(self, delta: Delta | Finished) -> None:
        match delta:
            case TextDelta(text):
                self.text += text
            case Finished():
                self.finished = delta
            case _:
                raise AssertionError(delta)


async def ask(base_url: str, settings: Settings = PATIENT, *, retried: bool = False) -> Heard:
    provider = OpenAI("test", ProviderSettings(kind="openai", base_url=base_url), settings)
    heard = Heard()
    source = stream_with_retries(provider, PROMPT, settings) if retried else provider.stream(PROMPT)
    try:
        async with aclosing(source) as deltas:
            async for delta in deltas:
                heard.take(delta)
    except ProviderError as error:
        heard.error = error
    finally:
        await provider.close()
    return heard


async def play_script(
    server: ScriptedProvider, *scripts: Script, settings: Settings = PATIENT, retried: bool = False
) -> Heard:
    server.script(*scripts)
    return await ask(server.base_url, settings, retried=retried)


# --- before the first word ---------------------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 500, 503, 529])
async def test_a_provider_that_is_busy_is_asked_again(server: ScriptedProvider, code: int) -> None:
    heard = await play_script(
        server, status(code, headers={"retry-after-ms": "1"}), openai("Hello"), retried=True
    )
    assert (heard.text, len(server.requests)) == ("Hello", 2)


async def test_a_provider_that_stays_busy_is_asked_a_bounded_number_of_times(
    server: ScriptedProvider,
) -> None:
    heard = await play_script(server, *[status(503, "busy")] * 9, retried=True)
    assert isinstance(heard.error, ProviderUnavailable)
    assert heard.error.detail == "busy"
    assert len(server.requests) == 3


async def test_how_long_to_wait_is_told(server: ScriptedProvider) -> None:
    heard = await play_script(server, status(429, headers={"retry-after": "7"}))
    assert isinstance(heard.error, ProviderUnavailable)
    assert heard.error.retry_after_seconds == 7


@pytest.mark.parametrize("code", [400, 401, 403, 404, 422])
async def test_a_refusal_is_told_in_the_providers_own_words_and_not_tried_again(
    server: ScriptedProvider, code: int
) -> None:
    heard = await play_script(server, status(code, "temperature must be cool"), retried=True)
    assert isinstance(heard.error, ProviderRefused)
    assert (heard.error.detail, heard.error.status) == ("temperature must be cool", code)
    assert len(server.requests) == 1


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with ScriptedProvider() as server:
        nowhere = server.base_url
    heard = await ask(nowhere)
    assert isinstance(heard.error, ProviderUnavailable)


@pytest.mark.parametrize(
    "script",
    [
        (Step.CUT,),
        (Step.HANG_UP,),
        (Raw(b"\x00\x01nonsense\r\n\r\n"), Step.HANG_UP),
        (Raw(b"HTTP/1.1 2"), Step.HANG_UP),
    ],
    ids=["reset", "closed", "nonsense", "half a head"],
)
async def test_a_connection_that_breaks_before_an_answer_is_worth_another_try(
    server: ScriptedProvider, script: Script
) -> None:
    heard = await play_script(server, script, openai("Hello"), retried=True)
    assert (heard.text, len(server.requests)) == ("Hello", 2)


async def test_a_refusal_whose_text_never_comes_is_told_by_its_status(server: ScriptedProvider) -> None:
    heard = await play_script(server, (head(400, {"content-length": "100"}), Raw(b"{"), Step.HANG_UP))
    assert isinstance(heard.error, ProviderRefused)
    assert heard.error.detail == "The provider responded with HTTP 400."


async def test_a_web_page_in_place_of_an_answer_points_at_base_url(server: ScriptedProvider) -> None:
    heard = await play_script(
        server, stream(b"<html>Welcome</html>", content_type="text/html; charset=utf-8")
    )
    assert isinstance(heard.error, ProviderRefused)
    assert "base_url" in heard.error.detail


async def test_a_redirect_is_not_followed(server: ScriptedProvider) -> None:
    heard = await play_script(server, document(b"", 307, {"location": f"{server.base_url}/elsewhere"}))
    assert isinstance(heard.error, ProviderRefused)
    assert "/elsewhere" in heard.error.detail


@pytest.mark.parametrize("kind", ["event stream", "document"])
async def test_an_error_under_a_200_before_the_first_word_is_tried_again_if_it_passes(
    server: ScriptedProvider, kind: str
) -> None:
    found = {"error": {"message": "busy", "code": 429}}
    script = stream(event(found)) if kind == "event stream" else document(found)
    heard = await play_script(server, script, openai("Hello"), retried=True)
    assert (heard.text, len(server.requests)) == ("Hello", 2)


# --- our own additions to a request --------------------------------------------------------------------


async def test_a_server_that_does_not_know_stream_options_is_asked_without_them(
    server: ScriptedProvider,
) -> None:
    heard = await play_script(
        server, status(400, "Unrecognized request argument: stream_options"), openai("Hello")
    )
    assert heard.text == "Hello"
    assert ["stream_options" in request.json for request in server.requests] == [True, False]


async def test_a_refusal_of_the_adjusted_request_is_told(server: ScriptedProvider) -> None:
    heard = await play_script(server, *[status(400, "what is stream_options?")] * 3)
    assert isinstance(heard.error, ProviderRefused)
    assert len(server.requests) == 2


# --- after it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end",
    [
        (Step.CUT,),
        (Step.HANG_UP,),
        # A pause, since a head and bad framing in one segment are no response at all: they are retried.
        (0.1, Raw(b"zzz\r\n")),
        (),
        (Step.STALL,),
        (b"data: {oops\n\n",),
        (event({"error": "no luck"}),),
    ],
    ids=["reset", "closed in a chunk", "bad framing", "ended early", "silence", "nonsense", "error"],
)
async def test_a_stream_that_breaks_off_gave_its_text_and_was_interrupted(
    server: ScriptedProvider, end: tuple[Raw | Step | bytes | float, ...]
) -> None:
    heard = await play_script(server, stream(*BEGUN, *end), settings=IMPATIENT, retried=True)
    assert heard.text == "Hello"
    assert isinstance(heard.error, ProviderInterrupted)
    assert len(server.requests) == 1


async def test_a_body_that_ends_with_its_connection_needs_a_marker_too(server: ScriptedProvider) -> None:
    unframed = head(200, {"content-type": "text/event-stream", "connection": "close"})
    cut: Script = (unframed, *map(Raw, BEGUN), Step.HANG_UP)
    whole: Script = (unframed, *map(Raw, FINISHED), Step.HANG_UP)
    assert isinstance((await play_script(server, cut)).error, ProviderInterrupted)
    assert (await play_script(server, whole)).finished == Finished(finish_reason="stop")


async def test_silence_before_the_first_byte_is_not_tried_again(server: ScriptedProvider) -> None:
    heard = await play_script(server, (Step.STALL,), settings=IMPATIENT, retried=True)
    assert isinstance(heard.error, ProviderInterrupted)
    assert len(server.requests) == 1


async def test_a_slow_answer_that_goes_on_is_never_cut_off(server: ScriptedProvider) -> None:
    """It takes longer in all than the silence that is allowed between two bytes; comments count as bytes."""
    slow = stream(*(step for piece in [*openai_events("Hel", "lo"), b": wait\n\n"] for step in (0.2, piece)))
    heard = await play_script(server, slow, settings=Settings(provider_idle_seconds=1.0))
    assert heard.text == "Hello"
    assert heard.finished is not None


@pytest.mark.parametrize("end", [Step.STALL, Step.CUT, Step.HANG_UP])
async def test_an_answer_that_was_finished_is_finished_however_its_connection_ends(
    server: ScriptedProvider, end: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_decoder, "FINISH_GRACE_SECONDS", 0.05)
    heard = await play_script(server, stream(*FINISHED, end))
    assert (heard.text, heard.finished) == ("Hello", Finished(finish_reason="stop"))


@pytest.mark.parametrize(
    "rest", [(Step.STALL,), (0.01, b": on and on\n\n") * 1000], ids=["silence", "comments"]
)
async def test_after_the_end_nothing_is_waited_for(
    server: ScriptedProvider, rest: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "DRAIN_SECONDS", 0.05)
    monkeypatch.setattr(reply_decoder, "FINISH_GRACE_SECONDS", 0.05)
    server.script(stream(*FINISHED, *rest), stream(*openai_events("Hel", "lo"), *rest))
    for number in (1, 2):
        heard = await ask(server.base_url)
        assert (heard.text, heard.finished is not None, heard.error) == ("Hello", True, None)
        assert (await server.wait_requests(number)).done.is_set() is False


async def test_a_completion_that_comes_whole_is_an_answer(server: ScriptedProvider) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
    heard = await play_script(server, document({"choices": [choice]}))
    assert (heard.text, heard.finished) == ("Hello", Finished(finish_reason="stop"))
