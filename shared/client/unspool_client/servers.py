"""The servers of a client, and calls with retries."""

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import httpx

from unspool_client.decoding import Undecodable, decode
from unspool_client.errors import ConfigurationError, ProblemDocument, Refused, Unreachable, refusal
from unspool_client.hosts import is_loopback
from unspool_client.patience import Backoff, Patience
from unspool_client.retry_after import retry_after_seconds

TRY_AGAIN = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses after which a call is repeated: it was not executed, or that is unknown."""
WHY_MAX_CHARS = 200


class Servers:
    """The base URLs of one system. It calls the server that responded last first. The client owns it."""

    def __init__(self, urls: Iterable[str], api_key: str | None, patience: Patience) -> None:
        """Raises `ConfigurationError` for an invalid URL or key."""
        self._urls = [_base_url(url) for url in urls]
        if not self._urls:
            raise ConfigurationError("a client needs the URL of a server")
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise ConfigurationError("the API key contains characters that an HTTP header cannot hold")
        self._now = 0
        self.patience = patience
        self.http = httpx.AsyncClient(
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            # Silence ends a connection, not its age. Streams last long, and there may be any number of them.
            timeout=httpx.Timeout(patience.idle_seconds, connect=patience.connect_seconds, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            # A proxy of the environment is for the world outside, not for this machine.
            trust_env=not all(is_loopback(httpx.URL(url).host) for url in self._urls),
        )

    @property
    def url(self) -> str:
        return self._urls[self._now]

    def move_on(self, failed: str) -> None:
        """Selects the next server, unless a concurrent call has already done so after the same failure."""
        if self.url == failed:
            self._now = (self._now + 1) % len(self._urls)

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        within_seconds: float | None = None,
    ) -> httpx.Response:
        """Returns the first successful response. The call must be safe to repeat.

        Raises `Unreachable` if there is no response in time, and `Refused` for a rejection.
        """
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        headers = {} if body is None else {"content-type": "application/json"}
        why: list[str] = []
        try:
            async with asyncio.timeout(within_seconds or self.patience.call_seconds):
                response = await self._until_answered(
                    why, method, path, content=content, headers=headers, params=params
                )
        except TimeoutError as error:
            raise Unreachable(why[-1] if why else f"{self.url}: no answer in time") from error
        if response.is_success:
            return response
        raise refused(response)

    async def _until_answered(self, why: list[str], method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's own options
        """Retries until a server responds. Appends the reason of each failure to `why`."""
        backoff = Backoff(self.patience)
        while True:
            asked, url = None, self.url
            try:
                response = await self.http.request(method, url + path, **request)
                if response.status_code not in TRY_AGAIN:
                    return response
                asked = retry_after_seconds(response.headers)
                why.append(f"{url}: {refused(response)}")
            except httpx.RequestError as error:
                why.append(f"{url}: {reason(error)}")
            self.move_on(url)
            await asyncio.sleep(backoff.next_wait_seconds(asked))

    async def close(self) -> None:
        """Closes all connections."""
        await self.http.aclose()


def refused(response: httpx.Response) -> Refused:
    """Returns the error with the server's reason, if the response contains one."""
    try:
        problem = decode(response.content, ProblemDocument)
    except Undecodable:
        problem = ProblemDocument()
    if not problem.title:  # not from Unspool: from a proxy before it, or from another server altogether
        where = response.url.copy_with(query=None)
        title = f"{response.status_code} {response.reason_phrase} from {where}"
        problem = replace(problem, title=title)
    return refusal(response.status_code, problem)


def reason(error: httpx.RequestError) -> str:
    """Returns the reason of a connection error."""
    match error:
        case httpx.ConnectError():
            what = "cannot connect"
        case httpx.TimeoutException():
            what = "no bytes arrived in time"
        case _:
            what = "the connection broke off"
    said = str(error)[:WHY_MAX_CHARS]
    return f"{what}: {said}" if said else what


def _base_url(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"{url!r} is not a URL: {error}") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise ConfigurationError(f"{url!r} is not the URL of a server, such as http://127.0.0.1:8000")
    return url.rstrip("/")
