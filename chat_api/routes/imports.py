"""A user's file of another product becomes conversations (docs/import-export.md)."""

from __future__ import annotations

from typing import Literal

from aiohttp import web
from pydantic import Field

from chat_api import errors
from chat_api.bodies import ResponseBody
from chat_api.description import declare
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.context import IMPORTS, PRINCIPAL
from chat_api.routes.import_course import LINES, run

routes = web.RouteTableDef()


class ImportedConversations(ResponseBody):
    __doc__ = "What became of the conversations of the file."

    added: int = Field(examples=[3])
    there: int = Field(description="were there already, and stay as they are", examples=[1])
    left_out: int = Field(description="couldn't be imported", examples=[0])


class ImportedMessages(ResponseBody):
    __doc__ = "What became of the messages of the conversations that were added."

    added: int = Field(examples=[42])
    left_out: int = Field(description="without those that the other product hides", examples=[1])


class ImportProblem(ResponseBody):
    __doc__ = "What wasn't taken, or not as it was."

    conversation: str | None = Field(
        description="the conversation's title; null: about the file, or it has none", examples=["Masala chai"]
    )
    why: str = Field(examples=["Messages without a text were left out: 1."])


class ImportReport(ResponseBody):
    __doc__ = "What was imported, and what wasn't, and why."

    source: Literal["own", "chatgpt", "claude", "open_webui", "librechat"] | None = Field(
        description="what the file is from; null: no conversation was found in it", examples=["chatgpt"]
    )
    conversations: ImportedConversations
    messages: ImportedMessages
    problems: list[ImportProblem] = Field(description="the first hundred")
    more_problems: int = Field(description="how many more there are", examples=[0])
    is_whole: bool = Field(
        description="whether the file was read to its end; if not, the last problem says why", examples=[True]
    )


_BINARY = {"type": "string", "contentMediaType": "application/octet-stream"}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": _BINARY}}


@routes.post("/api/import")
@describe(
    Operation(
        "Import conversations",
        "Import",
        [Response(200, "What was imported.", ImportReport, LINES)],
        "Send a file as it was downloaded from ChatGPT, Claude, Open WebUI, LibreChat or this service: JSON, "
        "JSON Lines, or a zip that holds `conversations.json`. Its content says what it is. A conversation "
        "that is there already stays as it is, so that the same file may be sent again. With `Accept: "
        f'{LINES}`, the response is a line of JSON each second, `{{"progress": …}}`, and at last '
        '`{"report": …}` or `{"error": …}`.',
        errors=[
            *declare.DATABASE,
            errors.UnknownUser,
            errors.RequestTimeout,
            errors.ImportRunning,
            errors.ImportTooLarge,
            errors.ImportUnreadable,
            errors.TooManyImports,
            errors.ImportInterrupted,
        ],
        upload={"application/octet-stream": _BINARY, "multipart/form-data": _FORM},
    )
)
async def import_file(request: web.Request) -> web.StreamResponse:
    with request.app[IMPORTS].take(request[PRINCIPAL].user_id):
        return await run(request)
