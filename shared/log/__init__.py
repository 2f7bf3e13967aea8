"""The log over NATS JetStream. The only package that imports `nats`."""

import sys

if "aiohttp" not in sys.modules:
    # nats-py loads aiohttp wherever it is installed, for WebSockets, which nothing here uses: 0.15 s of every start.
    sys.modules["aiohttp"] = None  # type: ignore[assignment] # an import of it raises ImportError
    import nats.aio.client  # noqa: F401

    del sys.modules["aiohttp"]
