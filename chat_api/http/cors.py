"""Which pages of other origins may call this service from a browser."""

from __future__ import annotations

import aiohttp_cors
from aiohttp import web


def allow_origins(app: web.Application, origins: list[str]) -> None:
    """Let pages of these origins call every route that the application has so far."""
    cors = aiohttp_cors.setup(
        app,
        defaults={
            origin: aiohttp_cors.ResourceOptions(  # type: ignore[no-untyped-call]
                allow_credentials=True,
                allow_headers="*",
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                expose_headers=["X-Trace-Id", "Retry-After"],
                max_age=600,
            )
            for origin in origins
        },
    )
    for route in list(app.router.routes()):
        cors.add(route)
