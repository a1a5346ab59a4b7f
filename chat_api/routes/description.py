"""The API's description of itself, for programs and for people."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.description.declare import Operation, Parameter, Response, describe
from chat_api.http.assets import TYPES, Asset, answer
from chat_api.http.bearer import is_public, public

routes = web.RouteTableDef()

PAGE = Path(__file__).parent.parent / "description" / "page"
TAG = "Description"
SUFFIXES = (".css", ".html", ".js", ".txt")
# Only the page's own files, and no inline scripts. Three of the viewer's inline style elements are allowed by
# their hashes: its colours with docs.css, light and dark, and bold code. Style attributes can't run anything.
STYLES = (
    "'sha256-NyC4B2g2ZM1hI6K+MoG1OLRrxOX18B2zcPG0GueOjWo=' "
    "'sha256-HOmhRA9PIVLQXLuSc3kaDVhtTiJM6eql+2KZaiYHmN4=' "
    "'sha256-QW1eFfIz65Jaq9JLxVVVem07hkwNyp56DsghGRf7zCc='"
)
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {STYLES}; style-src-attr 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DOCUMENT = Response(200, "The document.", "application/json")
KNOWN = Response(304, "Nothing has changed since the version that `If-None-Match` names.")


@routes.get("/api/openapi.json")
@public
@describe(
    Operation("This description, as OpenAPI", TAG, [DOCUMENT, KNOWN], "This description, as OpenAPI 3.1.")
)
async def openapi(request: web.Request) -> web.Response:
    return await _answer(request, _openapi)


@routes.get("/api/asyncapi.json")
@public
@describe(
    Operation(
        "The WebSocket's description, as AsyncAPI",
        TAG,
        [DOCUMENT, KNOWN],
        "The WebSocket's description, as AsyncAPI 3.",
    )
)
async def asyncapi(request: web.Request) -> web.Response:
    return await _answer(request, _asyncapi)


@routes.get("/api/docs")
@public
@describe(
    Operation(
        "This description, as a page",
        TAG,
        [Response(200, "The page.", "text/html"), KNOWN],
        "This description, as a page for people.",
    )
)
async def page(request: web.Request) -> web.Response:
    return await _answer(request, partial(_file, PAGE / "index.html"))


@routes.get("/api/docs/{name}")
@public
@describe(
    Operation(
        "The page's files",
        TAG,
        [Response(200, "The file.", *sorted(TYPES[suffix] for suffix in SUFFIXES)), KNOWN],
        "What this page consists of.",
        errors=[errors.NotFound],
        parameters=[Parameter("path", "name", "The file's name.", {"type": "string"}, "docs.css")],
    )
)
async def page_file(request: web.Request) -> web.Response:
    path = _files().get(request.match_info["name"])
    if path is None:
        raise errors.NotFound
    return await _answer(request, partial(_file, path))


async def _answer(request: web.Request, make: Callable[[], Asset]) -> web.Response:
    # Made once, at the first request rather than at start, and in a thread, so that no token waits for it.
    return answer(request, await asyncio.to_thread(make), POLICY)


@cache
def _openapi() -> Asset:
    from chat_api.description.asyncapi import readable  # noqa: PLC0415
    from chat_api.description.openapi import openapi  # noqa: PLC0415 - see _answer
    from chat_api.routes import TABLES  # noqa: PLC0415 - it includes this module's table

    more = {"/api/ws": readable(_make_asyncapi())}
    return Asset.of(orjson.dumps(openapi(TABLES, is_public, more)), ".json")


@cache
def _asyncapi() -> Asset:
    return Asset.of(orjson.dumps(_make_asyncapi()), ".json")


def _make_asyncapi() -> dict[str, Any]:
    from chat_api.description.asyncapi import asyncapi  # noqa: PLC0415
    from chat_api.transports.websocket.commands import KINDS as COMMANDS  # noqa: PLC0415

    return asyncapi(COMMANDS)


@cache
def _file(path: Path) -> Asset:
    return Asset.of(path.read_bytes(), path.suffix)


@cache
def _files() -> dict[str, Path]:
    return {
        path.name: path for path in PAGE.rglob("*") if path.suffix in SUFFIXES and path.name != "index.html"
    }
