"""The items of a conversation, in OpenAI's form (docs/openai.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.description.declare import Operation, Parameter, Response, describe
from chat_api.http.context import DATABASE, PRINCIPAL
from chat_api.http.requests import read_body, read_query, respond
from chat_api.responses import ids, inputs, items
from chat_api.responses.described import MESSAGE, ConversationObject, Item, ItemList
from chat_api.responses.requests import ItemsNew, ItemsQuery
from chat_api.routes import branches
from chat_api.routes.response_conversations import (
    CONVERSATION_ID,
    ERRORS,
    ID,
    noted,
    read_conversation,
)
from chat_api.routes.response_places import bring
from chat_api.routes.responses import TAG

if TYPE_CHECKING:
    import asyncpg

routes = web.RouteTableDef()

ITEM_ID = Parameter("path", "item_id", "The item's id.", ID, MESSAGE)


@routes.get("/v1/conversations/{conversation_id}/items", allow_head=False)
@describe(
    Operation(
        "List a conversation's items",
        TAG,
        [Response(200, "The page.", ItemList)],
        "What was said in a conversation, on its active path. `limit` counts messages: thinking, text and "
        "calls of one answer come together.",
        errors=ERRORS,
        parameters=[CONVERSATION_ID],
        query=ItemsQuery,
    )
)
async def list_items(request: web.Request) -> web.Response:
    query = read_query(request, ItemsQuery)
    try:
        after = None if query.after is None else ids.read_item(query.after)
    except errors.MessageNotFound:
        after = UUID(int=0)  # nobody's
    row = await request.app[DATABASE].row(
        "responses.items",
        conversation_id=read_conversation(request),
        user_id=request[PRINCIPAL].user_id,
        after_id=after,
        newest_first=query.order == "desc",
        max_rows=query.limit + 1,
    )
    if row is None:
        raise errors.ConversationNotFound
    if not row["is_known"]:
        raise errors.Invalid.of("message_not_found", ("query", "after"), "must be the id of one of the items")
    messages = orjson.loads(row["messages"] or "[]")
    page = [items.of_message(each) for each in messages[: query.limit]]
    data = [item for each in page for item in (each if query.order == "asc" else each[::-1])]
    return respond(orjson.dumps(items.listed(data, has_more=len(messages) > query.limit)))


@routes.post("/v1/conversations/{conversation_id}/items")
@describe(
    Operation(
        "Add items to a conversation",
        TAG,
        [Response(200, "The items as they are stored.", ItemList)],
        "Store what was said elsewhere at the end of a conversation. Nothing is answered. Not while an "
        "answer is being written.",
        errors=[*ERRORS, errors.GenerationRunning, errors.RequestRepeated],
        parameters=[CONVERSATION_ID],
        body=ItemsNew,
        body_required=True,
    )
)
async def add_items(request: web.Request) -> web.Response:
    conversation_id = read_conversation(request)
    body = await read_body(request, ItemsNew)
    messages = inputs.messages_of(body.items, "items")
    row = await bring(request, conversation_id, messages)
    if row["outcome"] == "running":
        raise errors.GenerationRunning
    data = [
        item
        for message_id, message in zip(row["ids"], messages, strict=True)
        for item in items.of_message({**message, "id": str(message_id), "finish_reason": None})
    ]
    return respond(orjson.dumps(items.listed(data, has_more=False)))


@routes.get("/v1/conversations/{conversation_id}/items/{item_id}", allow_head=False)
@describe(
    Operation(
        "Read an item",
        TAG,
        [Response(200, "The item.", Item)],
        "One item, by its id in the list or in a response.",
        errors=[*ERRORS, errors.MessageNotFound],
        parameters=[CONVERSATION_ID, ITEM_ID],
    )
)
async def get_item(request: web.Request) -> web.Response:
    _, item = await _item(request)
    return respond(orjson.dumps(item))


@routes.delete("/v1/conversations/{conversation_id}/items/{item_id}")
@describe(
    Operation(
        "Delete an item",
        TAG,
        [Response(200, "The conversation.", ConversationObject)],
        "Delete the last message of a conversation, with all items that it makes.",
        errors=[
            *ERRORS,
            errors.MessageNotFound,
            errors.Followed,
            errors.GenerationRunning,
            errors.LegalHold,
        ],
        parameters=[CONVERSATION_ID, ITEM_ID],
    )
)
async def delete_item(request: web.Request) -> web.Response:
    row, _ = await _item(request)
    if not row["is_last"]:
        raise errors.Followed
    await branches.take_back_from(request, read_conversation(request), row["id"])
    return await noted(request, None)


async def _item(request: web.Request) -> tuple[asyncpg.Record, items.Item]:
    """The message, and which of its items is meant."""
    conversation_id, item_id = read_conversation(request), request.match_info["item_id"]
    named = ids.read_item(item_id)
    row = await request.app[DATABASE].row(
        "responses.message",
        conversation_id=conversation_id,
        user_id=request[PRINCIPAL].user_id,
        message_id=named,
    )
    if row is None:
        raise errors.MessageNotFound
    for item in items.of_message({**orjson.loads(row["message"]), "id": str(named)}):
        if item["id"] == item_id:
            return row, item
    raise errors.MessageNotFound
