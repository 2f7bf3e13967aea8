"""Requests to other processes over core NATS, which stores nothing."""

import contextlib
from collections.abc import Callable

import nats.errors
from nats.aio.msg import Msg

from shared.domain.errors import LogUnavailable
from shared.log.connection import NATS_UNAVAILABLE, OverConnection


class Questions(OverConnection):
    """Sends requests to the process that listens on a subject, and replies for this process."""

    async def ask(self, subject: str, question: str, timeout_seconds: float) -> str | None:
        """Returns the reply; None if no process listens. Raises `LogUnavailable` if that is unknown."""
        try:
            reply = await self._connection.client.request(subject, question.encode(), timeout=timeout_seconds)
        except nats.errors.NoRespondersError:
            return None
        except NATS_UNAVAILABLE as error:
            raise LogUnavailable(f"{subject}: {error!r}") from error
        return str(reply.data.decode())

    async def listen(self, subject: str, answer: Callable[[str], str]) -> None:
        async def respond(message: Msg) -> None:
            with contextlib.suppress(nats.errors.Error):
                await message.respond(answer(message.data.decode()).encode())

        await self._connection.client.subscribe(subject, cb=respond)
