"""`/docs`: Swagger UI, served by this process. FastAPI's own page loads it from a CDN and is blank offline."""

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

_ASSETS = Path(str(files("fastapi_offline") / "static"))


def install(app: FastAPI) -> None:
    """Adds `/docs` and its assets. URLs are relative, so the page works behind a proxy that strips a prefix."""
    page = get_swagger_ui_html(
        openapi_url=str(app.openapi_url).removeprefix("/"),
        title=app.title,
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon.png",
    )

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return page

    app.mount("/docs/assets", StaticFiles(directory=_ASSETS))
