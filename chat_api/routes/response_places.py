"""Where a response goes: into a conversation of its own, to the end of one, or after another response."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.generation import prompt
from chat_api.http.context import DATABASE, GENERATIONS, INFERENCE, PRINCIPAL, SETTINGS
from chat_api.responses import asking, ids
from chat_api.responses.inputs import Message, Turn, refuse
from chat_api.routes import conversations
from chat_api.settings.models import DEFAULT

if TYPE_CHECKING:
    import asyncpg

    from chat_api.responses.requests import ResponseCreate


@dataclass(frozen=True, slots=True)
class Place:
    """The conversation, what is asked there, and whether this request has made it."""

    conversation_id: UUID
    asked: asking.Asked | asking.AskedWithResults
    is_new: bool = False


async def find_place(request: web.Request, wanted: ResponseCreate, turn: Turn, key: str | None) -> Place:
    """Where a response goes, and what is asked. A conversation of its own is made if it has no other.

    `key`: a retry with it finds the conversation that the first attempt made.
    Raises Invalid, ConversationNotFound, GenerationRunning, TooManyConversations, DatabaseUnavailable.
    """
    check_model(request, wanted.model)
    begins = wanted.conversation is None and wanted.previous_response_id is None
    if not begins and turn.has_history:
        refuse(("input",), "can bring earlier answers and calls only where it begins a conversation")
    if begins:
        asked = asking.ask(wanted, turn, None, begins=True)
        return await _begin(request, wanted, turn, asked, key)
    conversation_id, parent_id = await _go_on(request, wanted)
    asked = asking.ask(wanted, turn, parent_id, begins=False)
    if wanted.model is not None:
        await _choose_model(request, conversation_id, wanted.model)
    return Place(conversation_id, asked)


async def leave(request: web.Request, place: Place) -> None:
    """Delete the conversation of a response that the caller doesn't get, if it was made for that."""
    if place.is_new:
        with contextlib.suppress(errors.ChatError):  # the caller is told of the first one
            await conversations.delete_of(request, place.conversation_id)


async def open_conversation(
    request: web.Request,
    messages: list[Message],
    metadata: dict[str, str] | None,
    *,
    model: str | None = None,
    key: str | None = None,
) -> asyncpg.Record:
    """The row of `responses.open`, after these messages were stored there.

    Raises TooManyConversations, UnknownUser, DatabaseUnavailable.
    """
    user_id = request[PRINCIPAL].user_id
    title = next((prompt.title(each["content"]) for each in messages if each["role"] == "user"), "")
    parameters: dict[str, Any] = {
        "id": None if key is None else uuid5(user_id, key),
        "user_id": user_id,
        "title": title[: request.app[SETTINGS].max_title_characters] or "New conversation",
        "model_tag": model or DEFAULT,
        "metadata": None if metadata is None else orjson.dumps(metadata).decode(),
        "max_conversations": request.app[SETTINGS].max_conversations_per_user,
    }
    row = await request.app[DATABASE].row("responses.open", **parameters)
    if row is None and key is not None:  # the same key came twice at this very moment
        row = await request.app[DATABASE].row("responses.open", **parameters)
    if row is None:
        raise errors.TooManyConversations
    if messages:
        await bring(request, row["id"], messages, only_first=True)
    return row


async def bring(
    request: web.Request, conversation_id: UUID, messages: list[Message], *, only_first: bool = False
) -> asyncpg.Record:
    """The row of `responses.add`. Raises ConversationNotFound, RequestRepeated, DatabaseUnavailable."""
    row = await request.app[DATABASE].row(
        "responses.add",
        conversation_id=conversation_id,
        user_id=request[PRINCIPAL].user_id,
        messages=orjson.dumps(messages).decode(),
        only_first=only_first,
    )
    if row is None:
        raise errors.ConversationNotFound
    request.app[GENERATIONS].watch.changed(conversation_id, row["new_version"])
    return row


async def find_response(request: web.Request, response_id: str) -> asyncpg.Record:
    """The row of `responses.get`. Raises ResponseNotFound."""
    conversation_id, generation_id = ids.read_response(response_id)
    row = await request.app[DATABASE].row(
        "responses.get",
        conversation_id=conversation_id,
        user_id=request[PRINCIPAL].user_id,
        generation_id=generation_id,
    )
    if row is None:
        raise errors.ResponseNotFound
    return row


def check_model(request: web.Request, model: str | None) -> None:
    """Raise Invalid unless the caller may use this model."""
    catalogue, is_admin = request.app[INFERENCE].catalogue, request[PRINCIPAL].is_admin
    if model and not catalogue.may_use(model, is_admin=is_admin):
        refuse(("model",), "must be a model that GET /v1/models lists")


async def _begin(
    request: web.Request,
    wanted: ResponseCreate,
    turn: Turn,
    asked: asking.Asked | asking.AskedWithResults,
    key: str | None,
) -> Place:
    row = await open_conversation(request, turn.before, None, model=wanted.model, key=key)
    return Place(row["id"], asked, row["is_new"])


async def _go_on(request: web.Request, wanted: ResponseCreate) -> tuple[UUID, UUID | None]:
    """The conversation, and the message after which the response comes; None: its last one."""
    if wanted.conversation is not None:
        return ids.read_conversation(wanted.conversation), None
    try:
        row = await find_response(request, wanted.previous_response_id or "")
    except errors.ResponseNotFound:
        refuse(("previous_response_id",), "there is no such response")
    if row["status"] == "running":
        raise errors.GenerationRunning
    return row["conversation_id"], row["message_id"] or row["parent_id"]


async def _choose_model(request: web.Request, conversation_id: UUID, model: str) -> None:
    """Let a conversation's next answers come from this model, if it has another one."""
    about = {"conversation_id": conversation_id, "user_id": request[PRINCIPAL].user_id}
    row = await request.app[DATABASE].row("responses.conversation", **about, metadata=None)
    if row is None:
        raise errors.ConversationNotFound
    if row["model_tag"] != model:
        nothing = ("version", "title", "is_favorited", "instructions", "options", "active_message_id")
        changed = await request.app[DATABASE].row(
            "conversations.update",
            id=conversation_id,
            user_id=about["user_id"],
            model_tag=model,
            **dict.fromkeys(nothing),
        )
        if changed is not None:
            request.app[GENERATIONS].watch.changed(conversation_id, changed["new_version"])
