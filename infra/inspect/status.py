"""`unspool status`: shows what runs, what does not, and how far the queue and the read model are behind."""

import asyncio
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import msgspec
from msgspec import Struct, structs

from infra.inspect.status_lines import describe
from infra.inspect.status_report import Api, Model, Projector, Queue, Report, Server
from infra.local.data_directory import DataDirectory, default_path
from infra.local.embedded import with_embedded
from infra.local.running import NothingRuns, find_api_urls, find_running
from infra.terminal.printable import escape_json
from infra.terminal.program import suggest
from services.api.read_model.checkpoint import read_checkpoint
from services.api.read_model.postgres_errors import POSTGRES_UNAVAILABLE
from services.api.read_model.statements import LIVE
from shared.domain.errors import LogUnavailable, UnspoolError
from shared.domain.subjects import CHATS, GENERATORS
from shared.log.event_log import EventLog
from shared.logging import configure
from shared.settings import Settings, is_set

T = TypeVar("T")
ANSWER_SECONDS = 3.0
"""Time limit of each question to a server or process."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options. `urls`: API processes in place of those of `unspool up`."""

    data: Path | None = None
    config: Path | None = None
    urls: Sequence[str] = ()
    as_json: bool = False


class _LogAnswer(Struct, frozen=True):
    last: int
    queue: Queue | None


def main(settings: Settings, options: Options) -> int:
    """Prints the state and returns the exit status: 0 if everything is healthy, else 1."""
    if sys.stdout is not None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr] # the terminal's encoding may lack characters
    settings = structs.replace(settings, log_level="error", log_connect_seconds=ANSWER_SECONDS)
    configure(settings, "status")
    report = asyncio.run(inspect_system(settings, options))
    if options.as_json:
        found = {"healthy": report.healthy, "problems": report.problems} | msgspec.to_builtins(report)
        print(escape_json(msgspec.json.encode(found).decode()))
    else:
        print(describe(report, suggest("up", options.data)))
    return 0 if report.healthy else 1


async def inspect_system(settings: Settings, options: Options) -> Report:
    """Asks all processes and servers at once. Never raises because one of them is away."""
    directory = DataDirectory(options.data or default_path())
    processes = find_running(directory)
    given = is_set("nats_url", options.config) or is_set("postgres_url", options.config)
    urls = _api_urls(directory, settings, options)
    report = Report(data=str(directory.path), processes=tuple(processes))
    if not (processes or given or urls):
        return report
    tasks: list[Awaitable[Report]] = [_inspect_apis(settings, urls)]
    if processes or given:
        settings = with_embedded(settings, options.data if processes else None, options.config)
        tasks.append(_inspect_servers(settings))
    for part in await asyncio.gather(*tasks):
        changes = {name: value for name, value in structs.asdict(part).items() if value}
        report = structs.replace(report, **changes)
    return report


def _api_urls(directory: DataDirectory, settings: Settings, options: Options) -> tuple[str, ...]:
    if options.urls:
        return tuple(url.rstrip("/") for url in options.urls)
    try:
        return find_api_urls(directory, default_port=settings.port if options.data is None else None)
    except NothingRuns:
        return ()


async def _inspect_apis(settings: Settings, urls: Sequence[str]) -> Report:
    headers = {"authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
    async with httpx.AsyncClient(headers=headers, timeout=ANSWER_SECONDS, trust_env=False) as client:
        apis = await asyncio.gather(*(_inspect_api(client, url) for url in urls))
        for api in apis:
            if api.status in {"ok", "degraded"}:
                found = await _get(client, f"{api.url}/v1/models")
                if found.get("status") == HTTPStatus.UNAUTHORIZED:
                    return Report(apis=tuple(apis), models_error="set UNSPOOL_API_KEY to read the models")
                models = msgspec.convert(found.get("data", []), tuple[Model, ...])
                return Report(apis=tuple(apis), models=models)
    return Report(apis=tuple(apis))


async def _inspect_api(client: httpx.AsyncClient, url: str) -> Api:
    found = await _get(client, f"{url}/readyz")
    status = found.get("status")
    checks = found.get("checks")
    if not isinstance(status, str) or not isinstance(checks, dict):
        return Api(url, "unreachable")
    return Api(url, status, {str(name): str(value) for name, value in checks.items()})


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """Returns the JSON object of a response, whatever its status; an empty one if there is none."""
    try:
        found = (await client.get(url)).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


async def _inspect_servers(settings: Settings) -> Report:
    log, folded = await asyncio.gather(_within(_ask_log(settings)), _within(_ask_postgres(settings)))
    projector = None
    if isinstance(log, _LogAnswer) and isinstance(folded, int):
        projector = Projector(position=folded, last=log.last, lag=max(0, log.last - folded))
    return Report(
        nats=Server(error=log if isinstance(log, str) else ""),
        postgres=Server(error=folded if isinstance(folded, str) else ""),
        projector=projector,
        queue=log.queue if isinstance(log, _LogAnswer) else None,
    )


async def _within(question: Awaitable[T]) -> T | str:
    """Returns the answer, or why there is none."""
    try:
        return await asyncio.wait_for(question, ANSWER_SECONDS)
    except TimeoutError:
        return f"no answer within {ANSWER_SECONDS:.0f} s"
    except UnspoolError as error:
        return str(error)
    except (asyncpg.PostgresError, *POSTGRES_UNAVAILABLE) as error:
        return str(error) or repr(error)


async def _ask_log(settings: Settings) -> _LogAnswer:
    log = await EventLog.connect(settings, "unspool-status")
    try:
        return _LogAnswer((await log.position(CHATS)).last, await _ask_queue(log))
    finally:
        await log.close()


async def _ask_queue(log: EventLog) -> Queue | None:
    """Returns None before the first generator has created the queue."""
    try:
        queue = await log.queue(GENERATORS)
    except LogUnavailable:
        return None
    return Queue(pending=queue.num_pending, ack_pending=queue.num_ack_pending, pulls=queue.num_waiting)


async def _ask_postgres(settings: Settings) -> int:
    """Returns the position of the read model; 0 before its first row."""
    connection = await asyncpg.connect(settings.postgres_url, timeout=ANSWER_SECONDS)
    try:
        checkpoint = await read_checkpoint(connection, LIVE)
    except asyncpg.UndefinedTableError:
        return 0
    finally:
        connection.terminate()
    return checkpoint.position if checkpoint else 0
