"""What administrators see of the platform: its users, and how much each has stored."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import Field

from chat_api import errors
from chat_api.bodies import ResponseBody
from chat_api.description import declare
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.context import DATABASE, PRINCIPAL
from chat_api.http.requests import respond, respond_in_pieces
from chat_api.http.scopes import needs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

routes = web.RouteTableDef()

PIECE_USERS = 1000
"""In one statement. So each takes a moment, and a long list is never held as a whole."""


class PlatformUser(ResponseBody):
    __doc__ = "A user of the platform. What its database doesn't have, or doesn't show this service, is null."

    id: UUID = Field(examples=["7b0e7c3a-94c8-4a53-8a60-3b1de6a3f9d2"])
    email: str | None = Field(examples=["asha@chat.example"])
    name: str | None = Field(examples=["Asha"])
    provider: str | None = Field(description="who signs the user in", examples=["google"])
    created_at: datetime | None = Field(examples=["2026-01-02T09:00:00+00:00"])
    last_login_at: datetime | None = Field(examples=["2026-11-24T09:00:00+00:00"])
    conversation_count: int = Field(examples=[12])
    message_count: int = Field(examples=[340])


class Totals(ResponseBody):
    __doc__ = "The sums over the users that are listed."

    users: int = Field(examples=[1])
    conversations: int = Field(examples=[12])
    messages: int = Field(examples=[340])


class PlatformUsers(ResponseBody):
    __doc__ = "All users of the platform, those who signed in last first."

    items: list[PlatformUser]
    totals: Totals


@routes.get("/api/admin/users")
@needs("admin")
@describe(
    Operation(
        "List the platform's users",
        "Administration",
        [Response(200, "The users.", PlatformUsers)],
        "All users of the platform with the numbers of their conversations and messages, for "
        "administrators. It works where the platform's table `users` is in this service's database.",
        errors=[*declare.DATABASE, errors.Forbidden, errors.UsersNotReadable],
    )
)
async def users(request: web.Request) -> web.StreamResponse:
    if not request[PRINCIPAL].is_admin:
        raise errors.Forbidden
    first = await _piece(request, None)
    if first["user_count"] < PIECE_USERS:
        return respond("".join([part async for part in _parts(request, first)]))
    return await respond_in_pieces(request, _parts(request, first))


async def _piece(request: web.Request, after: asyncpg.Record | None) -> asyncpg.Record:
    """The next users. Raises UsersNotReadable."""
    row = await request.app[DATABASE].row(
        "users.page",
        max_rows=PIECE_USERS,
        before_login_at=None if after is None else after["last_login_at"],
        before_id=None if after is None else after["last_id"],
    )
    if row is None or not row["is_readable"]:
        raise errors.UsersNotReadable
    return row


async def _parts(request: web.Request, piece: asyncpg.Record) -> AsyncIterator[str]:
    """The whole body. Between two pieces, no connection to the database is held."""
    totals = {"users": 0, "conversations": 0, "messages": 0}
    yield '{"items":['
    while piece["user_count"]:
        yield f"{',' if totals['users'] else ''}{piece['users']}"
        totals["users"] += piece["user_count"]
        totals["conversations"] += piece["conversation_count"]
        totals["messages"] += piece["message_count"]
        if piece["user_count"] < PIECE_USERS:
            break
        piece = await _piece(request, piece)
    yield f'],"totals":{orjson.dumps(totals).decode()}}}'
