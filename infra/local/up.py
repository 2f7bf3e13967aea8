"""`unspool up`: runs and supervises everything on one machine, each part as a separate process.

Invariant: servers start first and stop last, so that a generator can hand over its answers at the end.
"""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from infra.local.data_directory import DataDirectory, default_path
from infra.local.log_files import limit_logs
from infra.local.nats_server import NatsServer
from infra.local.own_processes import ApiClient, OwnProcesses, check_port
from infra.local.postgres_server import PostgresServer
from infra.local.processes import StartError, stop_orphans
from infra.local.progress import Progress
from infra.local.running import find_running
from infra.local.servers import Server, wait_until_ready, why_not_started
from infra.local.supervisor import Crew, Member
from infra.local.welcome import Welcome, describe_try_out
from shared.settings import Settings, is_set

SERVICES_STOP_MARGIN_SECONDS = 0.3
"""Added to `shutdown_seconds`, which the processes observe themselves."""
SERVERS_STOP_SECONDS = 0.6
MODELS_SECONDS = 15.0
"""Time to wait for the first model. Afterwards `up` continues with a warning."""
POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command's options."""

    config: Path | None = None
    data: Path | None = None
    generators: int = 1
    apis: int = 1


def main(settings: Settings, options: Options) -> int:
    """Runs until Ctrl-C or SIGTERM and returns the exit status. Raises `ConfigurationError` or `StartError`."""
    data = DataDirectory(options.data or default_path())
    data.hold()
    try:
        for number in range(options.apis):
            check_port(settings.host, settings.port + number)
        asyncio.run(_run_until_stopped(settings, options, data))
    finally:
        data.release()
    return 0


async def _run_until_stopped(settings: Settings, options: Options, data: DataDirectory) -> None:
    progress = Progress()
    servers, services = Crew(progress.print_event), Crew(progress.print_event)
    _cancel_on_signals()
    with contextlib.suppress(asyncio.CancelledError):
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(servers.stop, SERVERS_STOP_SECONDS)
            stack.push_async_callback(services.stop, settings.shutdown_seconds + SERVICES_STOP_MARGIN_SECONDS)
            stack.callback(asyncio.create_task(limit_logs(data.logs)).cancel)
            await _Startup(settings, options, data, progress, servers, services).run()
            stack.callback(progress.print_line, "Stopping ...")
            await asyncio.Event().wait()
        return
    progress.print_line("Stopped.")


def _cancel_on_signals() -> None:
    """Cancels the current task at a signal. A second signal cancels the clean stop, which then kills the processes."""
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Keep a signal ignored if the parent ignores it, as `nohup` does.
        if task and signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


class _Startup:
    """The steps of the start, in order."""

    def __init__(
        self,
        settings: Settings,
        options: Options,
        data: DataDirectory,
        progress: Progress,
        servers: Crew,
        services: Crew,
    ) -> None:
        self._settings = settings
        self._options = options
        self._data = data
        self._progress = progress
        self._servers = servers
        self._services = services
        self._nats = None if is_set("nats_url", options.config) else NatsServer(data)
        self._postgres = None if is_set("postgres_url", options.config) else PostgresServer(data)

    async def run(self) -> None:
        for server in (self._nats, self._postgres):
            if server:
                server.check()
        self._progress.print_line("Unspool")
        for name in await stop_orphans(self._data.run):
            self._progress.print_event(f"{name} was still running after an unspool was killed: stopped")
        urls = await self._start_or_use("UNSPOOL_NATS_URL", self._nats, self._settings.nats_url)
        urls |= await self._start_or_use("UNSPOOL_POSTGRES_URL", self._postgres, self._settings.postgres_url)
        own = OwnProcesses(self._settings, self._options.config, self._data, urls)
        apis = [
            ApiClient(self._settings, self._settings.port + number) for number in range(self._options.apis)
        ]
        try:
            await self._start_apis(own, apis)
            models = await self._start_generators(own, apis[0])
        finally:
            for api in apis:
                await api.close()
        self._print_welcome(apis[0].url, models)

    async def _start_or_use(self, variable: str, server: Server | None, given: str) -> dict[str, str]:
        """Starts an embedded server and returns the variable with its URL; returns none if a server is configured."""
        if server:
            return {variable: await self._start_server(server)}
        address = urlsplit(given)
        self._progress.print_line(
            f"    {address.scheme} at {address.hostname}:{address.port} is configured: not started here"
        )
        return {}

    async def _start_server(self, server: Server) -> str:
        with self._progress.step(server.name, "starting") as step:
            program = await server.prepare()
            member = await self._servers.start(program, server.before_start)
            await wait_until_ready(server, program, member.process)
            self._servers.keep_running(member)
            step.done = f"127.0.0.1:{server.port}"
        return server.url

    async def _start_apis(self, own: OwnProcesses, clients: Sequence[ApiClient]) -> None:
        with self._progress.step("API", "starting, and reading the log") as step:
            members = [await self._services.start(own.api(number)) for number in range(1, len(clients) + 1)]
            for member, client in zip(members, clients, strict=True):
                await wait_until_ready(client, member.program, member.process)
                self._services.keep_running(member)
            step.done = ", ".join(client.url for client in clients)

    async def _start_generators(self, own: OwnProcesses, client: ApiClient) -> list[dict[str, Any]]:
        count = self._options.generators
        with self._progress.step("Generators", "starting, and asking for models") as step:
            members = [await self._services.start(own.generator(number)) for number in range(1, count + 1)]
            models = await self._wait_for_models(client, members)
            for member in members:
                self._services.keep_running(member)
            step.done = f"{count}, default model {models[0]['id']}" if models else f"{count}, no model yet"
        return models

    async def _wait_for_models(self, client: ApiClient, generators: Sequence[Member]) -> list[dict[str, Any]]:
        """Waits for the first announced model, which shows that a generator works. Returns [] after a timeout."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MODELS_SECONDS):
                while not (models := await client.list_models()):
                    for member in generators:
                        if member.process.returncode is not None:
                            raise StartError(why_not_started(member.program, member.process.returncode))
                    await asyncio.sleep(POLL_SECONDS)
                return models
        return []

    def _print_welcome(self, url: str, models: Sequence[dict[str, Any]]) -> None:
        say = self._progress.print_line
        say()
        say(f"Unspool is ready: {url}", style="bold green")
        say(f"Data in {self._data.path}, logs in {self._data.logs}. Ctrl-C stops everything.")
        if models and models[0].get("kind") == "demo":
            say("No model is configured: a demo generates text. Set OPENAI_API_KEY, or see the README.")
        if not models:
            say(
                f"No generator has announced a model yet: see {self._data.logs}/generator-1.log",
                style="yellow",
            )
        say()
        welcome = Welcome(
            url=url,
            chat=uuid4(),
            models=models,
            processes=find_running(self._data),
            data=self._options.data,
            default_model=self._settings.default_model,
            with_key=bool(self._settings.api_key),
        )
        for line, style in describe_try_out(welcome):
            say(line, style)
        say()
