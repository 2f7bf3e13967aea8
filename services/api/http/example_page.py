"""`/` and `/example`: where a browser gets to that opens the address of the API. The chat page will replace both."""

from importlib.resources import files

from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse

_HEADERS = {
    # The page loads nothing from elsewhere, and may not be framed.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def install(app: FastAPI) -> None:
    """Adds a redirect from `/` to `/docs`, and the example page of docs/examples with its script."""

    @app.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("docs")

    @app.get("/example", include_in_schema=False)
    async def page() -> Response:
        return _read("example.html", "text/html; charset=utf-8")

    @app.get("/example.js", include_in_schema=False)
    async def script() -> Response:
        return _read("example.js", "text/javascript; charset=utf-8")


def _read(name: str, media_type: str) -> Response:
    content = files("services.api.http.pages").joinpath(name).read_bytes()
    return Response(content, media_type=media_type, headers=_HEADERS)
