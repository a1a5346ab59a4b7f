"""The API described by itself, for programs and for people."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.description.declare import Answer, Operation, Parameter, describe
from chat_api.middlewares import is_public, public

routes = web.RouteTableDef()

PAGE = Path(__file__).parent.parent / "description" / "page"
TAG = "Description"
KINDS = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".txt": "text/plain"}
# Nothing but the page's own files, and no script in the page itself. Of the viewer's style elements these are
# allowed, as they are: its colours with docs.css in light and in dark, and bold code. Its style attributes
# can't run anything.
STYLES = (
    "'sha256-NyC4B2g2ZM1hI6K+MoG1OLRrxOX18B2zcPG0GueOjWo=' "
    "'sha256-HOmhRA9PIVLQXLuSc3kaDVhtTiJM6eql+2KZaiYHmN4=' "
    "'sha256-QW1eFfIz65Jaq9JLxVVVem07hkwNyp56DsghGRf7zCc='"
)
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {STYLES}; style-src-attr 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
KNOWN = Answer(304, "It is still the one that `If-None-Match` names.")


class Document(NamedTuple):
    """A body that is the same for everybody, and its ETag."""

    body: bytes
    digest: str
    content_type: str

    @classmethod
    def of(cls, body: bytes, content_type: str) -> Document:
        """With the ETag that its text gives."""
        return cls(body, hashlib.sha256(body).hexdigest()[:32], content_type)


@routes.get("/api/openapi.json")
@public
@describe(
    Operation("This description, as OpenAPI", TAG, [Answer(200, "The document.", "application/json"), KNOWN])
)
async def openapi(request: web.Request) -> web.Response:
    """This description, as OpenAPI 3.1."""
    return await _answer(request, _openapi)


@routes.get("/api/asyncapi.json")
@public
@describe(
    Operation("The WebSocket's, as AsyncAPI", TAG, [Answer(200, "The document.", "application/json"), KNOWN])
)
async def asyncapi(request: web.Request) -> web.Response:
    """The WebSocket's description, as AsyncAPI 3."""
    return await _answer(request, _asyncapi)


@routes.get("/api/docs")
@public
@describe(Operation("The page", TAG, [Answer(200, "The page.", "text/html"), KNOWN]))
async def page(request: web.Request) -> web.Response:
    """This page."""
    return await _answer(request, partial(_file, PAGE / "index.html"))


@routes.get("/api/docs/{name}")
@public
@describe(
    Operation(
        "The page's files",
        TAG,
        [Answer(200, "The file.", *sorted(KINDS.values())), KNOWN],
        errors=[errors.NotFound],
        parameters=[Parameter("path", "name", "The file's name.", {"type": "string"}, "docs.css")],
    )
)
async def page_file(request: web.Request) -> web.Response:
    """What this page consists of."""
    path = _files().get(request.match_info["name"])
    if path is None:
        raise errors.NotFound
    return await _answer(request, partial(_file, path))


async def _answer(request: web.Request, make: Callable[[], Document]) -> web.Response:
    # Made once, when somebody asks for it: not at start, and in a thread, so that no token waits for it.
    document = await asyncio.to_thread(make)
    known = {tag.value for tag in request.if_none_match or ()}
    if known & {document.digest, "*"}:
        response = web.Response(status=304)
    else:
        response = web.Response(body=document.body, content_type=document.content_type, charset="utf-8")
    response.etag = document.digest
    response.headers["Cache-Control"] = "no-cache"  # keep it, but ask whether it is still the same
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


@cache
def _openapi() -> Document:
    from chat_api.description.asyncapi import readable  # noqa: PLC0415
    from chat_api.description.openapi import openapi  # noqa: PLC0415 - see _answer
    from chat_api.routes import TABLES  # noqa: PLC0415 - of which this module's table is one

    more = {"/api/ws": readable(_make_asyncapi())}
    return Document.of(orjson.dumps(openapi(TABLES, is_public, more)), "application/json")


@cache
def _asyncapi() -> Document:
    return Document.of(orjson.dumps(_make_asyncapi()), "application/json")


def _make_asyncapi() -> dict[str, Any]:
    from chat_api.description.asyncapi import asyncapi  # noqa: PLC0415
    from chat_api.routes.commands import KINDS as COMMANDS  # noqa: PLC0415

    return asyncapi(COMMANDS)


@cache
def _file(path: Path) -> Document:
    return Document.of(path.read_bytes(), KINDS[path.suffix])


@cache
def _files() -> dict[str, Path]:
    return {path.name: path for path in PAGE.rglob("*") if path.suffix in KINDS and path.name != "index.html"}
