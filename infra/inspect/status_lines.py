"""The state of a system as lines for a person. Pure."""

from collections.abc import Iterator

from infra.inspect.status_report import Report, Server
from infra.terminal.durations import describe_duration
from infra.terminal.printable import printable

NAME_WIDTH = 12
ADDRESS_WIDTH = 16
MODELS_SHOWN = 6


def describe(report: Report, start: str = "unspool up") -> str:
    """Returns the lines. Nothing in them commands a terminal. `start` is the command to suggest if nothing runs."""
    if report.nothing_runs:
        return printable(f"Nothing runs on {report.data}. Start it with: {start}")
    problems = [f"  {problem}" for problem in report.problems]
    head = f"Unspool is {'healthy' if report.healthy else 'not healthy:'}"
    return printable("\n".join([head, *problems, *_details(report)]))


def _details(report: Report) -> Iterator[str]:
    for process in report.processes:
        if process.pid is not None:
            up = f"up {describe_duration(process.uptime_seconds)}"
            yield _row(process.name, f"{process.address:<{ADDRESS_WIDTH}}  pid {process.pid:<8}  {up}")
    for api in report.apis:
        yield _row("API", f"{api.url} is {api.status}")
    for name, server in (("NATS", report.nats), ("Postgres", report.postgres)):
        if server:
            yield _row(name, _answered(server))
    if report.projector:
        behind = report.projector
        yield _row("projector", f"at sequence {behind.position} of {behind.last}, lag {behind.lag}")
    if report.queue:
        yield _row("queue", f"{report.queue.pending} pending, {report.queue.ack_pending} being answered")
    if report.models:
        yield _row("models", _models(report))


def _row(name: str, text: str) -> str:
    return f"  {name:<{NAME_WIDTH}}  {text}".rstrip()


def _answered(server: Server) -> str:
    return "cannot be reached" if server.error else "answers"


def _models(report: Report) -> str:
    """Returns the first models, which begin with the default one, and the providers of all."""
    shown = ", ".join(model.id for model in report.models[:MODELS_SHOWN])
    more = len(report.models) - MODELS_SHOWN
    providers = ", ".join(sorted({f"{model.owned_by} ({model.kind})" for model in report.models}))
    return f"{shown}{f' and {more} more' if more > 0 else ''}; providers: {providers}"
