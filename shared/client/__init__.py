"""A client for programs in Python. An answer is read to its end, whatever becomes of connections and servers:

    async with Client("http://127.0.0.1:8000") as client:
        chat = await client.create_chat()
        asked = await client.post(chat.id, "What outlives a process?")
        async for event in client.stream(asked.answer):
            if isinstance(event, Token):
                print(event.text, end="", flush=True)

The law of this package: it knows the contract over HTTP and nothing else of Unspool, so that it could live
in a package of its own.
"""

from shared.client.client import Client
from shared.client.documents import Accepted, Answer, Chat, ChatPage, Message, Model
from shared.client.errors import (
    ClientError,
    Conflict,
    ContractBroken,
    Missing,
    Refused,
    Unauthorized,
    Unreachable,
)
from shared.client.events import Done, Problem, Reset, Snapshot, Started, StreamEvent, Token, Usage
from shared.client.patience import Patience
from shared.client.stream import Connected, Connection, Interrupted
from shared.client.transcript import Transcript

__all__ = [
    "Accepted",
    "Answer",
    "Chat",
    "ChatPage",
    "Client",
    "ClientError",
    "Conflict",
    "Connected",
    "Connection",
    "ContractBroken",
    "Done",
    "Interrupted",
    "Message",
    "Missing",
    "Model",
    "Patience",
    "Problem",
    "Refused",
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
