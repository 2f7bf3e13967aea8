"""`python infra/deploy/health.py URL`: exits with 0 if the URL responds 200. For health checks in images without curl.

It imports the standard library only, because it is started every few seconds.
"""

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 3.0


def main(url: str) -> int:
    """Prints the response and returns the exit status: 0 for HTTP 200, else 1."""
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
    return 0 if response.status == 200 else 1  # noqa: PLR2004 - an HTTP status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
