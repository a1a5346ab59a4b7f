"""The branches of a conversation: one becomes a conversation of its own, or a message is taken back."""

from __future__ import annotations

from uuid import UUID

from aiohttp import web

from chat_api import errors
from chat_api.bodies import Conversation, Fork
from chat_api.description import declare
from chat_api.description.declare import Operation, Parameter, Response, describe
from chat_api.http.context import DATABASE, GENERATIONS, PRINCIPAL, SETTINGS
from chat_api.http.requests import read_body, read_id, read_message_id
from chat_api.routes import conversations

routes = web.RouteTableDef()

MESSAGE_ID = Parameter("path", "message_id", "The message's id.", {"type": "string", "format": "uuid"})


@routes.post("/api/conversations/{id}/fork")
@describe(
    Operation(
        "Fork a conversation",
        conversations.TAG,
        [Response(201, "The new conversation.", Conversation)],
        "Copy a message, and all that it comes after, into a new conversation. The old one stays as it is.",
        errors=[*declare.DATABASE, errors.MessageNotFound, errors.TooManyConversations],
        body=Fork,
        body_required=True,
    )
)
async def fork(request: web.Request) -> web.Response:
    conversation_id = read_id(request)
    body = await read_body(request, Fork)
    row = await request.app[DATABASE].row(
        "conversations.fork",
        id=conversation_id,
        user_id=request[PRINCIPAL].user_id,
        message_id=body.message_id,
        max_conversations=request.app[SETTINGS].max_conversations_per_user,
    )
    match row and row["outcome"]:
        case "no_message":
            raise errors.MessageNotFound
        case "full":
            raise errors.TooManyConversations
    return conversations.one(row, 201)


@routes.delete("/api/conversations/{id}/messages/{message_id}")
@describe(
    Operation(
        "Take a message back",
        "Messages",
        [Response(204, "It is gone.")],
        "Delete a message and all that comes after it. If it was shown and has other versions, the newest of "
        "them is shown then. Not while an answer is being written.",
        errors=[*declare.DATABASE, errors.MessageNotFound, errors.GenerationRunning, errors.LegalHold],
        parameters=[MESSAGE_ID],
    )
)
async def take_back(request: web.Request) -> web.Response:
    await take_back_from(request, read_id(request), read_message_id(request))
    return web.Response(status=204)


async def take_back_from(request: web.Request, conversation_id: UUID, message_id: UUID) -> None:
    """Delete a message of the caller's, and all that comes after it.

    Raises ConversationNotFound, MessageNotFound, GenerationRunning, LegalHold.
    """
    row = await request.app[DATABASE].row(
        "messages.delete",
        conversation_id=conversation_id,
        user_id=request[PRINCIPAL].user_id,
        message_id=message_id,
    )
    if row is None:
        raise errors.ConversationNotFound
    match row["outcome"]:
        case "no_message":
            raise errors.MessageNotFound
        case "running":
            raise errors.GenerationRunning(generation_id=str(row["generation_id"]))
        case "held":
            raise errors.LegalHold
    request.app[GENERATIONS].watch.changed(conversation_id, row["new_version"])
