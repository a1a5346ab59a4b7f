"""The route tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chat_api.routes import (
    admin,
    branches,
    conversations,
    description,
    health,
    history,
    messages,
    models,
    response_conversations,
    response_items,
    response_models,
    responses,
    socket,
    streams,
    tickets,
    usage,
)

if TYPE_CHECKING:
    from aiohttp import web

FILES = description.routes  # their paths are those of files and pages
TABLES: list[web.RouteTableDef] = [
    health.routes,
    conversations.routes,
    history.routes,
    branches.routes,
    messages.routes,
    streams.routes,
    tickets.routes,
    socket.routes,
    models.routes,
    usage.routes,
    admin.routes,
    responses.routes,
    response_conversations.routes,
    response_items.routes,
    response_models.routes,
    FILES,
]
