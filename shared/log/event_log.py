"""The log over NATS JetStream, as the rest of Unspool uses it.

It says what was stored, and decides nothing. Retries of an append, and what a refused append and a lost tail mean, are
in `shared/log/append.py`; what a follower does with gaps is in `shared/log/follower.py`. Both are typed against the
protocols of `shared/log/protocol.py`, which the simulation implements too.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Self

from shared.domain import subjects
from shared.domain.errors import LogUnavailable
from shared.domain.subjects import Sequence
from shared.log.connection import Connection
from shared.log.consumers import Consumers
from shared.log.publisher import Publisher
from shared.log.questions import Questions
from shared.log.reader import Reader
from shared.log.recorded import Recorded
from shared.log.streams import Streams
from shared.settings import Settings


class EventLog(Publisher, Reader, Consumers, Streams, Questions):
    """One process' access to the log. Implements `Log`. Use `open`, or `connect` and then `close`."""

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: Settings, name: str) -> AsyncIterator[Self]:
        """Connects as `name`, yields the log, and closes it. Raises as `connect`."""
        log = await cls.connect(settings, name)
        try:
            yield log
        finally:
            await log.close()

    @classmethod
    async def connect(cls, settings: Settings, name: str) -> Self:
        """Connects as `name`. Raises `LogUnavailable` if no broker responds; then it reconnects without a limit."""
        return cls(await Connection.open(settings, name))

    async def close(self) -> None:
        """Closes both connections. Does not raise, also where the broker is away."""
        await self._connection.close()

    @property
    def connected(self) -> bool:
        """True if both connections are open."""
        return self._connection.connected

    def on_reconnect(self, tell: Callable[[], None]) -> None:
        """Calls `tell` after each reconnect: the log may have lost its tail meanwhile."""
        self._connection.on_reconnect(tell)

    async def read_many(self, names: Iterable[str]) -> dict[str, list[Recorded]]:
        """Reads many subjects of one stream from the beginning, in one scan of it. Raises `LogUnavailable`."""
        wanted: dict[str, list[Recorded]] = {name: [] for name in names}
        gathered = _Gathered(wanted)
        stream = subjects.stream_of(next(iter(wanted)))
        end = await self.subscribe(stream, gathered, start=Sequence(1), filters=tuple(wanted))
        try:
            async with asyncio.timeout(self._connection.settings.cold_read_seconds):
                await gathered.complete.wait()
        except TimeoutError as error:
            raise LogUnavailable(f"{stream}: a read did not come to its end") from error
        finally:
            await end()
        for name, found in wanted.items():
            # The consumer may stand on a replica that is behind: the rest comes from the leader.
            found.extend(await self.read(name, found[-1].sequence if found else Sequence(0)))
        return wanted


class _Gathered:
    """A subscriber that ends: it is complete when it has all that was stored when it began."""

    def __init__(self, into: dict[str, list[Recorded]]) -> None:
        self._into = into
        self._expected: int | None = None
        self._count = 0
        self.complete = asyncio.Event()

    def begin(self, pending: int) -> None:
        self._expected = pending
        self._check()

    def receive(self, recorded: Recorded, consumer_sequence: int) -> None:
        self._into[recorded.subject].append(recorded)
        self._count = consumer_sequence
        self._check()

    def heartbeat(self, last_consumer_sequence: int) -> None:
        pass

    def _check(self) -> None:
        if self._expected is not None and self._count >= self._expected:
            self.complete.set()
