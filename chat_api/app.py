"""The application: all its parts are made, joined and ended here, and nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, nullcontext
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp
from aiohttp import web

from chat_api import errors
from chat_api.access.doors import doors_of
from chat_api.access.proxy_header import ProxyHeader
from chat_api.access.refusals import Refusals
from chat_api.access.tickets import Tickets
from chat_api.access.tokens import TokenVerifier
from chat_api.generation.generations import Generations
from chat_api.generation.limits import SendLimits
from chat_api.generation.observer import Observer
from chat_api.generation.outcome import CUT_SHORT
from chat_api.http import bearer, middlewares
from chat_api.http.assets import load_assets
from chat_api.http.context import (
    DATABASE,
    GENERATIONS,
    INFERENCE,
    METRICS,
    PROXIES,
    PROXY_HEADER,
    REFUSALS,
    ROUTES,
    SETTINGS,
    TICKETS,
    VERIFIER,
)
from chat_api.http.cors import allow_origins
from chat_api.inference.connect import connect, new_session, untraced
from chat_api.inference.servers import ModelServers
from chat_api.libraries.aiohttp import Router, move_below, use_router
from chat_api.observe.metrics import Metrics
from chat_api.observe.vitals import Vitals
from chat_api.postgres.database import Database
from chat_api.relay import Relay
from chat_api.routes import FILES, TABLES, web_page
from chat_api.settings import Settings
from chat_api.settings.proxies import Proxies
from chat_api.transports.websocket.commands import KINDS
from chat_api.transports.websocket.socket import GOING_AWAY, SOCKETS
from chat_api.upkeep.cleaning import Cleaning
from chat_api.upkeep.orphans import Orphans
from chat_api.upkeep.turns import Turns

if TYPE_CHECKING:
    from chat_api.tracing.tracing import Tracing


def create_app(
    settings: Settings, more: Iterable[web.AbstractRouteDef] = (), tracing: Tracing | None = None
) -> web.Application:
    """Make the service as an aiohttp application, with the extra routes `more`, and with traces if wanted.

    It connects to nothing until it is started.
    """
    app = web.Application(
        middlewares=[
            middlewares.trace,
            *([tracing.middleware] if tracing else ()),
            middlewares.answer_errors,
            bearer.authenticate,
        ],
        client_max_size=settings.max_body_bytes,
    )
    use_router(app, router := Router())
    app[SETTINGS] = settings
    app[METRICS] = _metrics()
    app[REFUSALS] = Refusals(app[METRICS])
    app[SOCKETS] = set()
    app[PROXIES] = Proxies.parse(settings.trusted_proxies)
    app[ROUTES] = _add_routes(router, settings, more)
    app.on_response_prepare.append(middlewares.add_headers)
    app.cleanup_ctx.append(lambda app: _parts(app, tracing))
    app.on_shutdown.append(_drain)
    allow_origins(app, settings.origins)
    return app


def _metrics() -> Metrics:
    """Make the metrics. Those that count trouble start at 0, so that Prometheus sees their first increase."""
    metrics = Metrics()
    codes = {error.code for error in errors.kinds()}
    metrics.expect(metrics.errors, *codes)
    # A frame that is too large gets no error: its socket is closed.
    metrics.expect(
        metrics.refusals, "max_frame_bytes", *(each.limit for each in errors.kinds() if each.limit)
    )
    metrics.expect(
        metrics.auth_calls, "valid", "refused", errors.AuthBroken.code, errors.AuthUnavailable.code
    )
    metrics.expect(metrics.socket_commands, *KINDS, "unknown")
    metrics.expect(
        metrics.generations,
        ("completed", "stop"),
        ("completed", "length"),
        ("completed", "tool_calls"),
        ("completed", "content_filter"),
        ("stopped", "stopped"),
        ("failed", errors.ChatError.code),
        *(("failed", error.code) for error in errors.kinds(errors.InferenceError) if error not in CUT_SHORT),
        *(("interrupted", error.code) for error in CUT_SHORT),
    )
    return metrics


def _expecting(route: web.AbstractRouteDef) -> web.AbstractRouteDef:
    if not isinstance(route, web.RouteDef):
        return route
    return web.RouteDef(
        route.method, route.path, route.handler, {**route.kwargs, "expect_handler": middlewares.expect}
    )


def _add_routes(
    router: Router, settings: Settings, more: Iterable[web.AbstractRouteDef]
) -> dict[web.AbstractResource | None, str]:
    """Add all routes below `base_path`. Returns each resource's path without it, for logs and metrics.

    Only the API's own paths may end in a slash. The URLs in a page are relative to its path; and a proxy that
    closes `/metrics` needn't know of another way there.
    """
    tables: list[Iterable[web.AbstractRouteDef]] = [*TABLES, more]
    if settings.web_ui == "on":
        load_assets()  # now, so that the first request needn't wait for it
        tables.append(web_page.routes)
    for table in tables:
        routes = router.add_routes(map(_expecting, table))
        if table is not FILES:
            router.lenient |= {each.resource for each in routes if _is_of_the_api(each.resource)}
    names: dict[web.AbstractResource | None, str] = {}
    for resource in router.resources():
        names[resource] = resource.canonical
        if settings.base_path:
            # A parent application would cost each request some time.
            move_below(settings.base_path, resource, router)
    return names


def _is_of_the_api(resource: web.AbstractResource | None) -> bool:
    return resource is not None and resource.canonical.startswith(("/api/", "/v1/"))


async def _parts(app: web.Application, tracing: Tracing | None) -> AsyncIterator[None]:
    settings, metrics = app[SETTINGS], app[METRICS]
    async with AsyncExitStack() as stack:
        if tracing is not None:
            stack.push_async_callback(tracing.close)
        database = app[DATABASE] = Database(settings, metrics, tracing.statement if tracing else nullcontext)
        await database.open()
        stack.push_async_callback(database.close)
        metrics.watch_pool(settings.database_pool_max, lambda: database.connections)

        vitals = Vitals(metrics)
        vitals.open()
        stack.push_async_callback(vitals.close)

        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                trace_configs=_watched(tracing),
            )
        )
        verifier = app[VERIFIER] = TokenVerifier(settings, doors_of(settings, session, database), metrics)
        stack.push_async_callback(verifier.close)
        app[TICKETS] = Tickets(database, verifier)
        if "header" in settings.ways:
            app[PROXY_HEADER] = ProxyHeader(settings)

        streaming = await stack.enter_async_context(new_session(_watched(tracing)))
        around = tracing.inference if tracing else untraced
        inference = app[INFERENCE] = ModelServers(
            settings, lambda endpoint: around(connect(endpoint, streaming), endpoint), metrics
        )

        worker_id = uuid4()
        relay = Relay(
            database=database,
            worker_id=worker_id,
            lease_seconds=settings.worker_lease,
            # After this time, a statement has either succeeded or been given up.
            start_seconds=settings.database_timeout + 1,
            abandoned_seconds=settings.abandoned_seconds,
            notify=settings.database_notifications == "on",
            metrics=metrics,
        )
        limits = SendLimits(settings)
        generations = app[GENERATIONS] = Generations(
            settings=settings,
            worker_id=worker_id,
            database=database,
            inference=inference,
            relay=relay,
            limits=limits,
            metrics=metrics,
            observer=tracing.observer() if tracing else Observer(),
        )
        relay.open(generations)
        stack.push_async_callback(relay.close)

        interval_seconds = settings.worker_lease / 5
        orphans = Orphans(database=database, relay=relay, metrics=metrics, interval_seconds=interval_seconds)
        cleaning = Cleaning(
            database=database,
            relay=relay,
            worker_id=worker_id,
            settings=settings,
            counts_limits=limits.are_counted,
        )
        turns = Turns(generations.begin_due, relay, interval_seconds)
        for upkeep in (orphans, cleaning, turns):
            upkeep.open()
            stack.push_async_callback(upkeep.close)
        stack.push_async_callback(generations.close)
        yield


def _watched(tracing: Tracing | None) -> list[aiohttp.TraceConfig]:
    return [tracing.client()] if tracing else []


async def _drain(app: web.Application) -> None:
    """Drain in on_shutdown, while connections are open. on_cleanup is too late for streams and sockets."""
    if not app[GENERATIONS].draining:  # serve() has drained already
        await app[GENERATIONS].drain()
    for socket in app[SOCKETS]:
        socket.end(GOING_AWAY)
