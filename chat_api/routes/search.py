"""Search in what was said to the caller and by the caller."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

import orjson
from aiohttp import web
from pydantic import Field

from chat_api import errors
from chat_api.bodies import Body, ListedConversation, ResponseBody
from chat_api.bodies.fields import WITHOUT_NUL, Storable
from chat_api.description import declare
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.context import DATABASE, PRINCIPAL, SETTINGS
from chat_api.http.requests import read_query, respond

if TYPE_CHECKING:
    import asyncpg

routes = web.RouteTableDef()

# What bounds a request, whatever is searched: docs/operations/search.md says what that costs.
MORE_TEXTS = 8  # read for nothing, beside the limit
MOST_ENTRIES = 20_000

Words = Annotated[
    str,
    Field(
        min_length=1,
        max_length=500,
        examples=["masala -chai"],
        json_schema_extra=WITHOUT_NUL,
        description='words, `"phrases"`, and `-unwanted` ones. A text needs all of them. Unless a space '
        "follows it, the last word may go on, from its fourth letter.",
    ),
    Storable,
]


class SearchQuery(Body):
    __doc__ = "What to search for."

    q: Words
    limit: Annotated[int, Field(ge=1, le=50)] = Field(10, description="items per page, at most")
    cursor: Annotated[str, Field(max_length=200, json_schema_extra={"format": "cursor"})] | None = Field(
        None, description="the previous page's `next_cursor`"
    )


class SearchItem(ResponseBody):
    __doc__ = "A title or a message that was found."

    conversation: ListedConversation
    message_id: UUID | None = Field(
        description="null: the title was found", examples=["01a2f3c4-7a8b-7c90-8d1e-2f3041526374"]
    )
    role: Literal["user", "assistant"] | None
    is_active: bool | None = Field(description="whether it is on the path that is shown")
    snippet: str = Field(
        description="about 200 characters, what was found in `«»`; the text's own such marks are single ones",
        examples=["…a cup of «masala» tea…"],
    )
    created_at: datetime = Field(
        description="of the message; of the conversation, if the title was found",
        examples=["2026-11-24T09:05:00.123456+00:00"],
    )


class SearchPage(ResponseBody):
    __doc__ = "What was found: titles first, then messages, the newest first."

    items: list[SearchItem] = Field(description="may be fewer than `limit`, even none, on any page")
    next_cursor: str | None = Field(description="null: everything was searched", examples=[None])


@routes.get("/api/search")
@describe(
    Operation(
        "Search",
        "Conversations",
        [Response(200, "The page.", SearchPage)],
        "The caller's titles and messages that have all of the words; thinking isn't searched. Case and "
        "accents don't matter. Each request looks through a bounded part of what was said, so go on with "
        "`next_cursor` until it is null.",
        errors=[*declare.DATABASE, errors.SearchOff],
        query=SearchQuery,
    )
)
async def search(request: web.Request) -> web.Response:
    query = read_query(request, SearchQuery)
    if request.app[SETTINGS].search == "off":
        raise errors.SearchOff
    said_at, conversation_id, position = (
        (None, None, None) if query.cursor is None else _read_cursor(query.cursor)
    )
    row = await request.app[DATABASE].row(
        "search.find",
        user_id=request[PRINCIPAL].user_id,
        words=query.q,
        before_said_at=said_at,
        before_conversation_id=conversation_id,
        before_position=position,
        max_items=query.limit,
        max_texts=query.limit + MORE_TEXTS,
        max_entries=MOST_ENTRIES,
    )
    assert row is not None  # noqa: S101 - it is one row, whoever asks
    return respond(orjson.dumps({"items": orjson.Fragment(row["items"]), "next_cursor": _write_cursor(row)}))


def _write_cursor(row: asyncpg.Record) -> str | None:
    if row["next_said_at"] is None:
        return None
    place = f"{row['next_said_at'].isoformat()} {row['next_conversation_id']} {row['next_position']}"
    return base64.urlsafe_b64encode(place.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, UUID, int]:
    try:
        said_at, conversation_id, position = base64.urlsafe_b64decode(cursor).decode().split(" ")
        int(position).to_bytes(8, "big", signed=True)  # as a bigint
        return datetime.fromisoformat(said_at).astimezone(UTC), UUID(conversation_id), int(position)
    except (ValueError, OverflowError):
        raise errors.Invalid.of(
            "cursor_invalid", ("query", "cursor"), "must be the next_cursor of an earlier page"
        ) from None
