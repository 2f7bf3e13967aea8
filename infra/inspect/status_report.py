"""The result of `unspool status`: the document that `--json` prints, and its problems. Pure."""

from collections.abc import Iterator

from msgspec import Struct

from infra.local.running import RunningProcess


class Server(Struct, frozen=True):
    """NATS or Postgres. `error` is empty if it answered."""

    error: str = ""


class Api(Struct, frozen=True):
    """The readiness of one API process, or the status `unreachable`."""

    url: str
    status: str
    checks: dict[str, str] = {}


class Projector(Struct, frozen=True, kw_only=True):
    """The last sequence in the read model, the last one in the log, and the number of facts between them."""

    position: int
    last: int
    lag: int


class Queue(Struct, frozen=True, kw_only=True):
    """Requests that no generator has yet, those being answered, and open pull requests of generators."""

    pending: int
    ack_pending: int
    pulls: int


class Model(Struct, frozen=True):
    """A model that a generator announced. `owned_by` is the name of its provider."""

    id: str
    owned_by: str = ""
    kind: str = ""


class Report(Struct, frozen=True, kw_only=True):
    """The state of a system. A part that was not asked is None or empty."""

    data: str = ""
    processes: tuple[RunningProcess, ...] = ()
    apis: tuple[Api, ...] = ()
    nats: Server | None = None
    postgres: Server | None = None
    projector: Projector | None = None
    queue: Queue | None = None
    models: tuple[Model, ...] = ()
    models_error: str = ""

    @property
    def nothing_runs(self) -> bool:
        return not (self.processes or self.apis or self.nats or self.postgres)

    @property
    def healthy(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """A sentence for each thing that does not work."""
        return tuple(self._find_problems())

    def _find_problems(self) -> Iterator[str]:
        if self.nothing_runs:
            yield f"nothing runs on {self.data}"
            return
        for process in self.processes:
            if process.pid is None:
                yield f"{process.name} does not run"
        for name, server in (("NATS", self.nats), ("Postgres", self.postgres)):
            if server and server.error:
                yield f"{name} cannot be reached: {server.error}"
        for api in self.apis:
            if api.status != "ok":
                failed = [f"{name} {value}" for name, value in api.checks.items() if value != "ok"]
                yield ": ".join([f"{api.url} is {api.status}", *([", ".join(failed)] if failed else [])])
        if self.models_error:
            yield self.models_error
        elif self.apis and not self.models:
            yield "no generator has announced a model"
        if self.queue and self.queue.pending and not (self.queue.pulls or self.queue.ack_pending):
            yield f"{self.queue.pending} requests wait, and no generator takes one"
