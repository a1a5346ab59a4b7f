"""A conversation with its messages: whole, or by pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.bodies import MessagesQuery, OpenConversation
from chat_api.description import declare
from chat_api.description.declare import Operation, Response, describe
from chat_api.generation.readers import Cursor
from chat_api.http.context import DATABASE, GENERATIONS, PRINCIPAL
from chat_api.http.requests import read_id, read_query, respond, respond_in_pieces
from chat_api.routes.conversations import TAG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

routes = web.RouteTableDef()

PIECE_BYTES = 131_072
"""Of text, in a piece of a long conversation: it is read and sent piece by piece, never held as a whole."""


@routes.get("/api/conversations/{id}")
@describe(
    Operation(
        "Read a conversation",
        TAG,
        [Response(200, "The conversation.", OpenConversation)],
        "A conversation with its messages and the generation now running in it. Where `generation` is not "
        "null, attach to it with `GET /api/conversations/{id}/stream`. `unanswered` says why the last "
        "question has no answer. Without `limit`, all messages; with it, the newest ones, and `before` leads "
        "to earlier ones.",
        errors=declare.DATABASE,
        query=MessagesQuery,
    )
)
async def get(request: web.Request) -> web.StreamResponse:
    query = read_query(request, MessagesQuery)
    row = await request.app[DATABASE].row(
        "conversations.get",
        id=read_id(request),
        user_id=request[PRINCIPAL].user_id,
        before_id=query.before,
        max_rows=query.limit,
        max_bytes=PIECE_BYTES,
    )
    if row is None:
        raise errors.ConversationNotFound
    if row["end_position"] is None:
        raise errors.Invalid.of(
            "message_not_found", ("query", "before"), "must be the id of a message in this conversation"
        )
    conversation: str = row["conversation"]
    start = f'{conversation[:-1]},"messages":[{row["messages"] or ""}'
    end = {
        "has_more": row["has_more"],
        "generation": _generation(request, row),
        "queued": orjson.Fragment(row["queued"] or "[]"),
        "unanswered": _unanswered(row),
    }
    rest = f"],{orjson.dumps(end).decode()[1:]}"
    if row["is_all"]:
        return respond(start + rest)
    return await respond_in_pieces(request, _pieces(request, row, start, rest))


def _generation(request: web.Request, row: asyncpg.Record) -> dict[str, Any] | None:
    if row["generation_id"] is None:
        return None
    last_seq = request.app[GENERATIONS].last_seq(row["generation_id"]) or row["last_seq"]
    return {
        "id": str(row["generation_id"]),
        "conversation_id": request.match_info["id"].lower(),
        "user_message_id": str(row["user_message_id"]),
        "status": row["status"],
        "started_at": row["started_at"],
        "last_event_id": None if last_seq is None else str(Cursor(row["generation_id"], last_seq)),
    }


def _unanswered(row: asyncpg.Record) -> dict[str, Any] | None:
    if row["unanswered_id"] is None:
        return None
    code: str | None = row["unanswered_error"]
    return {
        "generation_id": str(row["unanswered_id"]),
        "error": code,
        "detail": None if code is None else errors.from_code(code).detail,
        "finish_reason": row["unanswered_reason"],
    }


async def _pieces(request: web.Request, first: asyncpg.Record, start: str, end: str) -> AsyncIterator[str]:
    """A long conversation: between two pieces, no connection to the database is held."""
    yield start
    row: asyncpg.Record | None = first
    while row is not None and not row["is_all"]:
        row = await request.app[DATABASE].row(
            "messages.piece",
            conversation_id=read_id(request),
            user_id=request[PRINCIPAL].user_id,
            after_position=row["last_position"],
            end_position=first["end_position"],
            max_bytes=PIECE_BYTES,
        )
        if row is not None:
            yield f",{row['messages']}"
    yield end
