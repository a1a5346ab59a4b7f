"""The route tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_api.routes import conversations, description, health, messages, models, socket, streams

if TYPE_CHECKING:
    from aiohttp import web

TABLES: list[web.RouteTableDef] = [
    health.routes,
    conversations.routes,
    messages.routes,
    streams.routes,
    socket.routes,
    models.routes,
    description.routes,
]
