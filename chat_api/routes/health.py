"""Liveness, readiness and metrics."""

from __future__ import annotations

import asyncio

import orjson
import structlog
from aiohttp import web

from chat_api import errors
from chat_api.bodies import Health, Readiness
from chat_api.description.declare import Operation, Response, describe
from chat_api.folders import migration_ids
from chat_api.http.bearer import public
from chat_api.http.context import DATABASE, GENERATIONS, METRICS
from chat_api.postgres.failures import refuses_writes

log = structlog.get_logger(__name__)

routes = web.RouteTableDef()

TAG = "Operations"

READY_SECONDS = 3
"""A database that hangs makes unready; the probe isn't to hang with it."""
NO_WRITES = "The database takes no writes: it is a standby, or read-only."

HEALTHY = orjson.dumps({"status": "ok", "ready": True, "service": "chat-api"})


@routes.get("/api/health")
@public
@describe(
    Operation(
        "Is it alive?",
        TAG,
        [Response(200, "It is alive.", Health)],
        "Liveness: the process answers. It checks nothing else, so a broken neighbour causes no restart.",
    )
)
async def health(_: web.Request) -> web.Response:
    return web.Response(body=HEALTHY, content_type="application/json")


@routes.get("/api/ready")
@public
@describe(
    Operation(
        "Is it ready?",
        TAG,
        [
            Response(200, "It is ready.", Readiness),
            Response(503, "It isn't ready; `checks` says why. Send requests elsewhere.", Readiness),
        ],
        "Readiness: the database takes writes within three seconds and is migrated, and this worker is not "
        "draining. Otherwise 503.",
    )
)
async def ready(request: web.Request) -> web.Response:
    checks = {"database": "ok", "migrations": "ok", "worker": "ok"}
    rows = []
    try:
        async with asyncio.timeout(READY_SECONDS):
            rows = await request.app[DATABASE].rows("maintenance.readiness")
    except TimeoutError:
        checks["database"] = f"The database doesn't answer within {READY_SECONDS} seconds."
        checks["migrations"] = "unknown"
    except errors.DatabaseNotMigrated:
        pass  # no migration has been applied
    except errors.DatabaseUnavailable as error:
        checks["database"] = NO_WRITES if refuses_writes(error.__cause__) else error.detail
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
@describe(
    Operation(
        "Metrics",
        TAG,
        [Response(200, "The metrics.", "text/plain")],
        "The metrics in Prometheus's text format.",
    )
)
async def metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=await request.app[METRICS].exposition(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )
