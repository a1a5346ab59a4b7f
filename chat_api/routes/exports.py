"""Exports: all of the caller's own, or one conversation of theirs."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aiohttp import web

from chat_api import errors
from chat_api.description import declare
from chat_api.description.declare import Operation, Parameter, Response, describe
from chat_api.exports.document import as_json
from chat_api.exports.file_names import safe_name
from chat_api.exports.lines import as_lines, parsed
from chat_api.exports.markdown import as_markdown
from chat_api.http.context import DATABASE, EXPORTS, GENERATIONS, PRINCIPAL, SETTINGS
from chat_api.http.downloads import respond_with_file
from chat_api.http.requests import read_id
from chat_api.transports.sse import allowed_seconds

if TYPE_CHECKING:
    from chat_api.postgres.snapshot import Snapshot

routes = web.RouteTableDef()

TAG = "Export"
JSON, JSON_LINES, MARKDOWN = "application/json", "application/x-ndjson", "text/markdown"
ERRORS = [*declare.DATABASE, errors.TooManyExports, errors.ExportsBusy, errors.Draining]

_TYPES = {
    "markdown": (f"{MARKDOWN}; charset=utf-8", "md"),
    "json": (f"{JSON}; charset=utf-8", "json"),
    "jsonl": (JSON_LINES, "jsonl"),
}
"""The formats of one conversation: the type of the response, and the ending of the file's name."""

Lines = AsyncGenerator[str, None]


@routes.get("/api/export")
@describe(
    Operation(
        "Export everything",
        TAG,
        [Response(200, "The lines. Without the last one, of the type `end`, they aren't whole.", JSON_LINES)],
        "All that is stored of the caller, as JSON Lines, from one moment: conversations with every version "
        "of every message, thinking, tool calls, records of answers, and usage. The first line names the "
        "`format`. The lines are sent as fast as they are taken; where they can't be completed, the "
        "connection breaks.",
        errors=ERRORS,
    )
)
async def everything(request: web.Request) -> web.StreamResponse:
    today = datetime.now(UTC).date()
    async with _reading(request) as snapshot, aclosing(_all(request, snapshot)) as lines:
        return await respond_with_file(
            request,
            as_lines(lines, request[PRINCIPAL].user_id),
            JSON_LINES,
            f"chat-export-{today}.jsonl",
            _seconds(request),
        )


@routes.get("/api/conversations/{id}/export")
@describe(
    Operation(
        "Export a conversation",
        TAG,
        [Response(200, "The file. Its name is made from the title.", MARKDOWN, JSON, JSON_LINES)],
        "One conversation as a file. `markdown` has what is shown of it, with the thinking folded; `json` "
        "and `jsonl` have every version of every message, the records of answers, and usage, as one object "
        "or in the lines of `GET /api/export`.",
        errors=[*ERRORS, errors.FormatUnknown],
        parameters=[
            Parameter(
                "query",
                "format",
                "Without it, `markdown`.",
                {"type": "string", "enum": list(_TYPES)},
                "json",
            )
        ],
    )
)
async def one(request: web.Request) -> web.StreamResponse:
    conversation_id = read_id(request)
    asked = request.query.get("format", "markdown")
    if asked not in _TYPES:
        raise errors.FormatUnknown
    content_type, ending = _TYPES[asked]
    async with _reading(request) as snapshot, aclosing(_of(request, snapshot, conversation_id)) as lines:
        first = await anext(lines, None)
        if first is None:
            raise errors.ConversationNotFound
        texts = _joined(first, lines)
        if asked == "jsonl":
            made = as_lines(texts, request[PRINCIPAL].user_id, conversation_id)
        else:
            made = as_json(texts) if asked == "json" else as_markdown(texts)
        name = safe_name(parsed(first)["title"], ending)
        return await respond_with_file(request, made, content_type, name, _seconds(request))


@asynccontextmanager
async def _reading(request: web.Request) -> AsyncIterator[Snapshot]:
    """A moment of the database, while there is a place for another export."""
    if request.app[GENERATIONS].draining:
        raise errors.Draining
    with request.app[EXPORTS].place(request[PRINCIPAL].user_id):
        async with request.app[DATABASE].snapshot(request.app[SETTINGS].slow_reader_timeout) as snapshot:
            yield snapshot


def _seconds(request: web.Request) -> float:
    """How long the response may take: also the token's time, where that ends streams."""
    settings = request.app[SETTINGS]
    if settings.expired_streams == "finish":
        return settings.export_timeout
    allowed = allowed_seconds(request[PRINCIPAL].expires_at - time.time())
    return settings.export_timeout if allowed is None else min(allowed, settings.export_timeout)


async def _all(request: web.Request, snapshot: Snapshot) -> Lines:
    """Conversation by conversation, since row-level security shows one to a statement."""
    user_id = request[PRINCIPAL].user_id
    async with aclosing(snapshot.rows("users.owned", user_id=user_id)) as owned:
        async for row in owned:
            async with aclosing(_part(snapshot, user_id, row["id"], "conversation")) as lines:
                async for line in lines:
                    yield line
    async with aclosing(_part(snapshot, user_id, None, "usage")) as lines:
        async for line in lines:
            yield line


async def _of(request: web.Request, snapshot: Snapshot, conversation_id: UUID) -> Lines:
    """Nothing, if it isn't the caller's."""
    is_there = False
    for part in ("conversation", "usage"):
        async with aclosing(_part(snapshot, request[PRINCIPAL].user_id, conversation_id, part)) as lines:
            async for line in lines:
                is_there = True
                yield line
        if not is_there:
            return


async def _part(snapshot: Snapshot, user_id: UUID, conversation_id: UUID | None, part: str) -> Lines:
    asked: dict[str, Any] = {"user_id": user_id, "conversation_id": conversation_id, "part": part}
    async with aclosing(snapshot.rows("users.export", **asked)) as rows:
        async for row in rows:
            yield row["line"]


async def _joined(first: str, rest: Lines) -> Lines:
    yield first
    async for line in rest:
        yield line
