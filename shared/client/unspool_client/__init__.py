"""A Python client for Unspool. It reads an answer to its end over any number of connections and servers:

    async with Client("http://127.0.0.1:8000") as client:
        chat = await client.create_chat()
        asked = await client.post(chat.id, "What outlives a process?")
        async for event in client.stream(asked.answer):
            if isinstance(event, Token):
                print(event.text, end="", flush=True)

This package depends on the HTTP contract and on httpx only.
"""

from unspool_client.calls import NEWEST, Client
from unspool_client.documents import Accepted, Answer, Chat, ChatPage, Message, Model
from unspool_client.errors import (
    ClientError,
    ConfigurationError,
    Conflict,
    ContractBroken,
    Missing,
    Refused,
    Unauthorized,
    Unreachable,
)
from unspool_client.events import Done, Problem, Reset, Snapshot, Started, StreamEvent, Token, Usage
from unspool_client.feed import ChatEvent, FeedEvent, Reload
from unspool_client.patience import Patience
from unspool_client.stream import Connected, Connection, Interrupted
from unspool_client.transcript import Transcript

__all__ = [
    "NEWEST",
    "Accepted",
    "Answer",
    "Chat",
    "ChatEvent",
    "ChatPage",
    "Client",
    "ClientError",
    "ConfigurationError",
    "Conflict",
    "Connected",
    "Connection",
    "ContractBroken",
    "Done",
    "FeedEvent",
    "Interrupted",
    "Message",
    "Missing",
    "Model",
    "Patience",
    "Problem",
    "Refused",
    "Reload",
    "Reset",
    "Snapshot",
    "Started",
    "StreamEvent",
    "Token",
    "Transcript",
    "Unauthorized",
    "Unreachable",
    "Usage",
]
