"""The common part of commands that read or write the log: connects, runs, and parses the chat's id."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from msgspec import structs

from shared.domain import subjects
from shared.domain.errors import NotFound
from shared.domain.subjects import ChatId
from shared.logging import configure
from shared.settings import Settings

R = TypeVar("R")


def run_command(name: str, settings: Settings, run: Callable[[Settings], Coroutine[Any, Any, R]]) -> R:
    """Runs a command's coroutine and returns its result. Logs errors only, because the output is for a person."""
    settings = structs.replace(settings, log_level="error")
    configure(settings, name)
    return asyncio.run(run(settings))


def parse_chat(given: str) -> ChatId:
    """Returns the chat of its own id, or of the id of one of its messages or answers. Raises `NotFound`."""
    chat = subjects.client_id(subjects.chat_of(given))
    if chat is None:
        raise NotFound("chat", given)
    return ChatId(chat)
