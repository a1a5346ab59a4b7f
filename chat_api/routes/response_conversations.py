"""OpenAI's Conversations API over the same conversations (docs/openai.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.description import declare
from chat_api.description.declare import Operation, Parameter, Response, describe
from chat_api.http.context import DATABASE, PRINCIPAL
from chat_api.http.requests import read_body, respond
from chat_api.responses import ids, inputs
from chat_api.responses.described import ConversationObject, Deleted
from chat_api.responses.requests import CONVERSATION, IDS, ConversationNew, ConversationNoted
from chat_api.responses.response import conversation
from chat_api.routes import conversations
from chat_api.routes.response_places import open_conversation
from chat_api.routes.responses import TAG

if TYPE_CHECKING:
    import asyncpg

routes = web.RouteTableDef()

ID: dict[str, object] = {"type": "string", **IDS}
CONVERSATION_ID = Parameter("path", "conversation_id", "The conversation's id.", ID, CONVERSATION)
ERRORS = [*declare.DATABASE, errors.ConversationNotFound]


@routes.post("/v1/conversations")
@describe(
    Operation(
        "Create a conversation",
        TAG,
        [Response(200, "The new conversation.", ConversationObject)],
        "Create a conversation, perhaps with what was said before.",
        errors=[*declare.DATABASE, errors.UnknownUser, errors.TooManyConversations],
        body=ConversationNew,
    )
)
async def create(request: web.Request) -> web.Response:
    body = await read_body(request, ConversationNew)
    messages = inputs.messages_of(body.items or [], "items")
    return _one(await open_conversation(request, messages, body.metadata))


@routes.get("/v1/conversations/{conversation_id}", allow_head=False)
@describe(
    Operation(
        "Read a conversation",
        TAG,
        [Response(200, "The conversation.", ConversationObject)],
        "A conversation, also one of the page's; its items have a path of their own.",
        errors=ERRORS,
        parameters=[CONVERSATION_ID],
    )
)
async def get(request: web.Request) -> web.Response:
    return await noted(request, None)


@routes.post("/v1/conversations/{conversation_id}")
@describe(
    Operation(
        "Change a conversation",
        TAG,
        [Response(200, "The conversation.", ConversationObject)],
        "Note something on a conversation, in place of what was noted.",
        errors=ERRORS,
        parameters=[CONVERSATION_ID],
        body=ConversationNoted,
        body_required=True,
    )
)
async def update(request: web.Request) -> web.Response:
    body = await read_body(request, ConversationNoted)
    return await noted(request, orjson.dumps(body.metadata).decode())


@routes.delete("/v1/conversations/{conversation_id}")
@describe(
    Operation(
        "Delete a conversation",
        TAG,
        [Response(200, "It is gone.", Deleted)],
        "Delete a conversation with all that was said in it. An answer that is being written is stopped.",
        errors=[*ERRORS, errors.LegalHold],
        parameters=[CONVERSATION_ID],
    )
)
async def delete(request: web.Request) -> web.Response:
    conversation_id = read_conversation(request)
    await conversations.delete_of(request, conversation_id)
    return respond(
        orjson.dumps(
            {"id": ids.conversation_id(conversation_id), "object": "conversation.deleted", "deleted": True}
        )
    )


def read_conversation(request: web.Request) -> UUID:
    """The conversation's id in the path. Raises ConversationNotFound."""
    return ids.read_conversation(request.match_info["conversation_id"])


async def noted(request: web.Request, metadata: str | None) -> web.Response:
    """A conversation with what is noted on it, from now on if `metadata` isn't None."""
    row = await request.app[DATABASE].row(
        "responses.conversation",
        conversation_id=read_conversation(request),
        user_id=request[PRINCIPAL].user_id,
        metadata=metadata,
    )
    return _one(row)


def _one(row: asyncpg.Record | None) -> web.Response:
    if row is None:
        raise errors.ConversationNotFound
    return respond(orjson.dumps(conversation(row["id"], row["began"], row["metadata"])))
