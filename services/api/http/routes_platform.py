"""For the platform, and what models there are."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from services.api.http.dependencies import Context, Here, Owner
from services.api.http.openapi import responses
from services.api.http.problems import NoKey
from services.api.read_model.queries import ReadModelUnavailable
from shared.metrics import may_scrape

router = APIRouter()


@router.get(
    "/v1/models",
    tags=["models"],
    summary="List models",
    responses=responses.MODELS,
)
async def models(here: Here, _owner: Owner) -> JSONResponse:
    """Models of all providers. `id` is what a chat or a message takes as `model`."""
    found = await here.catalogue.models()
    data = [
        {"id": model.id, "object": "model", "owned_by": model.provider, "kind": model.kind} for model in found
    ]
    return JSONResponse({"object": "list", "data": data})


@router.get("/livez", tags=["platform"], summary="Alive?", responses=responses.ALIVE)
async def livez() -> dict[str, str]:
    """The process runs and answers."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    tags=["platform"],
    summary="Ready?",
    responses=responses.READY,
)
async def readyz(here: Here) -> JSONResponse:
    """`503` while this process cannot serve answers; a history that is away makes it `degraded`, not red."""
    checks = await _checks(here)
    red = here.closing or not all(checks[name] == "ok" for name in ("log", "facts", "tokens", "projector"))
    status = (
        "closing"
        if here.closing
        else "not ready"
        if red
        else "ok"
        if checks["history"] == "ok"
        else "degraded"
    )
    return JSONResponse({"status": status, "checks": checks}, 503 if red else 200)


@router.get(
    "/metrics",
    tags=["platform"],
    summary="Measure",
    response_class=PlainTextResponse,
    responses=responses.METRICS,
)
async def metrics(request: Request, here: Here) -> Response:
    """Numbers for Prometheus. Where an `api_key` or a `metrics_key` is set, one of them is needed, as a bearer token."""
    if not may_scrape(here.settings, request.headers.get("authorization", "")):
        raise NoKey
    await here.readings.take()
    return Response(generate_latest(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _checks(here: Context) -> dict[str, str]:
    return {
        "log": "ok" if here.log.connected else "not connected",
        "facts": "ok" if here.facts_follower.caught_up.is_set() else "catching up",
        "tokens": "ok" if here.tokens_follower.caught_up.is_set() else "catching up",
        "projector": here.projector.reason if here.projector and here.projector.state == "stopped" else "ok",
        "history": await _history(here),
    }


async def _history(here: Context) -> str:
    try:
        await here.reads.position()
    except ReadModelUnavailable:
        return "unavailable"
    return "ok"
