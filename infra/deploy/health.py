"""`python infra/deploy/health.py URL`: status 0 if it answers 200. For the health checks of images that hold no curl.

A file that is run by itself, with the standard library only: it is started every few seconds.
"""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3.0


def main(url: str) -> int:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 80, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        said = response.read(2000).decode(errors="replace")
    except (OSError, HTTPException) as error:
        print(f"{url}: {error!r}")
        return 1
    print(f"{response.status} {said}")
    return 0 if response.status == 200 else 1  # noqa: PLR2004 - HTTP's own number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
