"""Routes of the platform: health, metrics, models."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from services.api.http.dependencies import Context, InjectedContext, Owner
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
async def models(context: InjectedContext, _owner: Owner) -> JSONResponse:
    """Lists the models of all providers. Use `id` as the `model` of a chat or a message."""
    found = await context.catalogue.models()
    data = [
        {"id": model.id, "object": "model", "owned_by": model.provider, "kind": model.kind} for model in found
    ]
    return JSONResponse({"object": "list", "data": data})


@router.get("/livez", tags=["platform"], summary="Liveness", responses=responses.ALIVE)
async def livez() -> dict[str, str]:
    """Reports that the process runs and serves requests."""
    return {"status": "ok"}


@router.get(
    "/readyz",
    tags=["platform"],
    summary="Readiness",
    responses=responses.READY,
)
async def readyz(context: InjectedContext) -> JSONResponse:
    """Responds `503` while this process cannot serve answers. Without the history it is `degraded`, with `200`."""
    checks = await _run_checks(context)
    red = context.closing or not all(checks[name] == "ok" for name in ("log", "facts", "tokens", "projector"))
    status = (
        "closing"
        if context.closing
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
    summary="Metrics",
    response_class=PlainTextResponse,
    responses=responses.METRICS,
)
async def metrics(request: Request, context: InjectedContext) -> Response:
    """Returns metrics in the text format of Prometheus. Requires the `api_key` or the `metrics_key` as a bearer token,
    if one is set.
    """
    if not may_scrape(context.settings, request.headers.get("authorization", "")):
        raise NoKey
    await context.scrape_gauges.refresh()
    return Response(generate_latest(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _run_checks(context: Context) -> dict[str, str]:
    return {
        "log": "ok" if context.log.connected else "not connected",
        "facts": "ok" if context.facts_follower.caught_up.is_set() else "catching up",
        "tokens": "ok" if context.tokens_follower.caught_up.is_set() else "catching up",
        "projector": context.projector.reason
        if context.projector and context.projector.state == "stopped"
        else "ok",
        "history": await _check_history(context),
    }


async def _check_history(context: Context) -> str:
    try:
        await context.reads.position()
    except ReadModelUnavailable:
        return "unavailable"
    return "ok"
