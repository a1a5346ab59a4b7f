"""A user's conversations: list, create, change, delete."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.bodies import (
    Conversation,
    ConversationCreate,
    ConversationPage,
    ConversationUpdate,
    PageQuery,
)
from chat_api.bodies.tools import as_json
from chat_api.description import declare
from chat_api.description.declare import Operation, Parameter, Response, describe
from chat_api.http.context import DATABASE, GENERATIONS, INFERENCE, PRINCIPAL, SETTINGS
from chat_api.http.requests import read_body, read_id, read_query, read_version, respond
from chat_api.settings.models import DEFAULT

if TYPE_CHECKING:
    import asyncpg

routes = web.RouteTableDef()

TAG = "Conversations"
IF_MATCH = Parameter(
    "header",
    "If-Match",
    "The conversation's `version`, in quotes: if it has another one by now, nothing changes (412). `*`, or "
    "no such header: whatever it has.",
    {"type": "string", "pattern": '^(\\*|"(0|[1-9][0-9]{0,8})")$'},
    '"3"',
)


@routes.get("/api/conversations")
@describe(
    Operation(
        "List conversations",
        TAG,
        [Response(200, "The page.", ConversationPage)],
        "One page of the caller's conversations, newest first, and the same grouped by UTC date. If "
        "conversations change meanwhile, pages by `cursor` neither repeat nor miss one; pages by `offset` "
        "may.",
        errors=declare.DATABASE,
        query=PageQuery,
    )
)
async def page(request: web.Request) -> web.Response:
    query = read_query(request, PageQuery)
    updated_at, last_id = (None, None) if query.cursor is None else _read_cursor(query.cursor)
    rows = await request.app[DATABASE].rows(
        "conversations.page",
        user_id=request[PRINCIPAL].user_id,
        before_updated_at=updated_at,
        before_id=last_id,
        max_rows=query.limit + 1,
        skip=query.offset,
    )
    shown = rows[: query.limit]
    grouped = {
        day: [orjson.Fragment(row["conversation"]) for row in group]
        for day, group in groupby(shown, itemgetter("day"))
    }
    body = {
        "items": [orjson.Fragment(row["conversation"]) for row in shown],
        "grouped": grouped,
        "limit": query.limit,
        "offset": query.offset,
        "next_cursor": _write_cursor(shown[-1]) if len(rows) > len(shown) else None,
    }
    return respond(orjson.dumps(body))


@routes.post("/api/conversations")
@describe(
    Operation(
        "Create a conversation",
        TAG,
        [Response(201, "The new conversation.", Conversation)],
        "Create an empty conversation. Its title is made from its first message, unless you give one.",
        errors=[*declare.DATABASE, errors.UnknownUser, errors.TooManyConversations],
        body=ConversationCreate,
    )
)
async def create(request: web.Request) -> web.Response:
    body = await read_body(request, ConversationCreate)
    row = await request.app[DATABASE].row(
        "conversations.create",
        user_id=request[PRINCIPAL].user_id,
        title=_title(request, body.title) or "New conversation",
        model_tag=_model_tag(request, body.model_tag) or DEFAULT,
        max_conversations=request.app[SETTINGS].max_conversations_per_user,
    )
    if row is None:
        raise errors.TooManyConversations
    return one(row, 201)


@routes.put("/api/conversations/{id}")
@describe(
    Operation(
        "Change a conversation",
        TAG,
        [Response(200, "The conversation as it is now.", Conversation)],
        "Rename a conversation, mark it as a favourite, show another version of a message, or set the "
        "model, the instructions and the options of its next answers. What is left out or null stays. None "
        "of this moves the conversation in the list. While an answer is being written, no other version can "
        "be shown.",
        errors=[
            *declare.DATABASE,
            errors.MessageNotFound,
            errors.GenerationRunning,
            errors.ConversationChanged,
        ],
        parameters=[IF_MATCH],
        body=ConversationUpdate,
        body_required=True,
    )
)
async def update(request: web.Request) -> web.Response:
    conversation_id = read_id(request)
    body = await read_body(request, ConversationUpdate)
    options = None if body.options is None else body.options.model_dump(exclude_none=True)
    row = await request.app[DATABASE].row(
        "conversations.update",
        id=conversation_id,
        user_id=request[PRINCIPAL].user_id,
        version=read_version(request),
        title=_title(request, body.title),
        is_favorited=body.is_favorited,
        model_tag=DEFAULT if body.model_tag == "" else _model_tag(request, body.model_tag),
        instructions=body.instructions,
        options=None if options is None else as_json(options).decode(),
        active_message_id=body.active_message_id,
    )
    if row is None:
        raise errors.ConversationNotFound
    match row["outcome"]:
        case "changed":
            raise errors.ConversationChanged
        case "no_message":
            raise errors.MessageNotFound
        case "running":
            raise errors.GenerationRunning(generation_id=str(row["generation_id"]))
    request.app[GENERATIONS].watch.changed(conversation_id, row["new_version"])
    return one(row)


@routes.delete("/api/conversations/{id}")
@describe(
    Operation(
        "Delete a conversation",
        TAG,
        [Response(204, "It is gone.")],
        "Delete a conversation with its messages. A running answer is stopped.",
        errors=[*declare.DATABASE, errors.LegalHold],
    )
)
async def delete(request: web.Request) -> web.Response:
    await delete_of(request, read_id(request))
    return web.Response(status=204)


async def delete_of(request: web.Request, conversation_id: UUID) -> None:
    """Delete a conversation of the caller's; its running answer is stopped.

    Raises ConversationNotFound, LegalHold.
    """
    row = await request.app[DATABASE].row(
        "conversations.delete", id=conversation_id, user_id=request[PRINCIPAL].user_id
    )
    if row is None:
        raise errors.ConversationNotFound
    if row["outcome"] == "held":
        raise errors.LegalHold
    request.app[GENERATIONS].watch.changed(conversation_id, row["new_version"])
    if row["generation_id"] is not None:
        await request.app[GENERATIONS].stopped(row["generation_id"], conversation_id)


def _title(request: web.Request, title: str | None) -> str | None:
    limit = request.app[SETTINGS].max_title_characters
    if title is not None and len(title) > limit:
        raise errors.Invalid.of(
            "string_too_long", ("body", "title"), f"String should have at most {limit} characters"
        )
    return title


def _model_tag(request: web.Request, model_tag: str | None) -> str | None:
    catalogue, is_admin = request.app[INFERENCE].catalogue, request[PRINCIPAL].is_admin
    if model_tag and not catalogue.may_use(model_tag, is_admin=is_admin):
        raise errors.Invalid.of(
            "model_unknown",
            ("body", "model_tag"),
            f"must be one of {', '.join(catalogue.tags(is_admin=is_admin))}, as GET /api/models lists them",
        )
    return model_tag


def one(row: asyncpg.Record | None, status: int = 200) -> web.Response:
    """A row's conversation. Raises ConversationNotFound if there is none."""
    if row is None:
        raise errors.ConversationNotFound
    return respond(row["conversation"], status)


def _write_cursor(row: asyncpg.Record) -> str:
    return base64.urlsafe_b64encode(f"{row['updated_at'].isoformat()} {row['id']}".encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    try:
        moment, _, last_id = base64.urlsafe_b64decode(cursor).decode().partition(" ")
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(last_id)
    except (ValueError, OverflowError):
        raise errors.Invalid.of(
            "cursor_invalid", ("query", "cursor"), "must be the next_cursor of an earlier page"
        ) from None
