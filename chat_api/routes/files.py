"""Answering with a file: compressed where the caller takes it, and not again where it has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from chat_api.assets import Asset


def answer(request: web.Request, asset: Asset, policy: str | None = None) -> web.Response:
    """The file, or 304; `policy` is a page's Content-Security-Policy."""
    body, etag = asset.body, asset.etag
    headers = {
        "Cache-Control": asset.cache_control,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if policy is not None:
        headers["Content-Security-Policy"] = policy
    if asset.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        body, etag = asset.gzipped, f"{etag}-gzip"
        headers["Content-Encoding"] = "gzip"
    known = {tag.value for tag in request.if_none_match or ()}
    if known & {etag, "*"}:
        headers.pop("Content-Encoding", None)
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(body=body, headers=headers, content_type=asset.content_type, charset="utf-8")
    response.etag = etag
    return response
