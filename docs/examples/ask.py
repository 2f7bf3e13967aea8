"""Asks a question, or continues an answer: `python ask.py URL [ANSWER [CURSOR]]`.

Needs `pip install ./shared/client`. Prints the answer to standard output, and how to continue to standard error.
"""

import asyncio
import sys

from unspool_client import Client, Done, Reset, Snapshot, Token


async def main(url: str, answer: str = "", cursor: str = "") -> None:
    async with Client(url) as client:
        if not answer:
            chat = await client.create_chat(title="From an example")
            answer = (await client.post(chat.id, "What outlives a process?")).answer
        print(f"answer {answer}", file=sys.stderr)
        async for event in client.stream(answer, after=cursor or None):
            match event:
                case Token():
                    print(event.text, end="", flush=True)
                    print(f"cursor {event.id}", file=sys.stderr)
                case Snapshot():
                    print(f"\n{event.text}", end="", flush=True)
                case Reset():
                    print("\n--- begun anew ---")
                case Done():
                    print(f"\n{event.status}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
