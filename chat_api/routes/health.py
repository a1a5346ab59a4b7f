"""Is it alive, is it ready, what does it count."""

from __future__ import annotations

import orjson
import structlog
from aiohttp import web

from chat_api import errors
from chat_api.bodies import Health, Readiness
from chat_api.description.declare import Operation, Response, describe
from chat_api.folders import migration_ids
from chat_api.http.context import DATABASE, GENERATIONS, METRICS
from chat_api.http.middlewares import public

log = structlog.get_logger(__name__)

routes = web.RouteTableDef()

TAG = "Operations"

HEALTHY = orjson.dumps({"status": "ok", "ready": True, "service": "chat-api"})


@routes.get("/api/health")
@public
@describe(Operation("Is it alive?", TAG, [Response(200, "It lives.", Health)]))
async def health(_: web.Request) -> web.Response:
    """Liveness: the process answers. Touches nothing else, so that a broken neighbour restarts nobody."""
    return web.Response(body=HEALTHY, content_type="application/json")


@routes.get("/api/ready")
@public
@describe(
    Operation(
        "Is it ready?",
        TAG,
        [
            Response(200, "It can work.", Readiness),
            Response(503, "It can't, see `checks`; send requests elsewhere.", Readiness),
        ],
    )
)
async def ready(request: web.Request) -> web.Response:
    """Readiness: the database answers and is migrated, and this worker is not draining; else 503."""
    checks = {"database": "ok", "migrations": "ok", "worker": "ok"}
    rows = []
    try:
        rows = await request.app[DATABASE].rows("maintenance.applied_migrations")
    except errors.DatabaseNotMigrated:
        pass  # none is applied
    except errors.DatabaseUnavailable as error:
        checks["database"] = error.detail
        checks["migrations"] = "unknown"
    missing = set(migration_ids()) - {row["migration_id"] for row in rows}
    if missing and checks["database"] == "ok":
        checks["migrations"] = f"{len(missing)} to apply: run chat-api migrate"
    if request.app[GENERATIONS].draining:
        checks["worker"] = "draining"
    is_ready = all(check == "ok" for check in checks.values())
    return web.Response(
        body=orjson.dumps({"ready": is_ready, "checks": checks}),
        status=200 if is_ready else 503,
        content_type="application/json",
        headers={} if is_ready else {"Retry-After": "5"},
    )


@routes.get("/metrics")
@public
@describe(Operation("Prometheus' figures", TAG, [Response(200, "The figures.", "text/plain")]))
async def metrics(request: web.Request) -> web.Response:
    """The figures in Prometheus' text format."""
    return web.Response(
        body=await request.app[METRICS].exposition(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )
