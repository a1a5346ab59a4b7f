"""Responses that are the same for everybody. Each is compressed and tagged once, then served from memory."""

from __future__ import annotations

import gzip
import hashlib
import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from aiohttp import web

from chat_api.folders import web_dir

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
    ".txt": "text/plain",
}
_INDEX = "index.html"
_TOKEN_URL = b'<meta name="token-url" content="">'
# A file below vendor/ has its version in its name, so browsers request it once. They request the others each
# time and mostly get a 304. So a page never mixes modules of two versions after an update.
_VENDOR = "vendor/"
_FOREVER, REVALIDATE = "public, max-age=31536000, immutable", "no-cache"


@dataclass(frozen=True)
class Asset:
    """A file as it is sent. `etag` belongs to the plain bytes. `gzipped` is None if it isn't smaller."""

    body: bytes
    gzipped: bytes | None
    etag: str
    content_type: str
    cache_control: str

    @classmethod
    def of(cls, body: bytes, suffix: str, cache_control: str = REVALIDATE) -> Asset:
        """An asset from bytes; the file name's suffix gives the content type."""
        gzipped = gzip.compress(body, mtime=0)
        return cls(
            body=body,
            gzipped=gzipped if len(gzipped) < len(body) else None,
            etag=hashlib.sha256(body).hexdigest()[:32],
            content_type=TYPES[suffix],
            cache_control=cache_control,
        )


def answer(request: web.Request, asset: Asset, policy: str | None = None) -> web.Response:
    """The response: the file, or 304. `policy` is a page's Content-Security-Policy."""
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


@cache
def load_assets() -> Mapping[str, Asset]:
    """The page's files except the page itself, keyed by their path below /web/, with forward slashes."""
    folder = web_dir()
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return MappingProxyType({name: _read(name, path) for name, path in names.items() if name != _INDEX})


@cache
def load_page(token_url: str) -> Asset:
    """The page itself. It gets its tokens from `token_url`; if that is empty, it asks the user for one.

    `none:`: it needs none.
    """
    source = (web_dir() / _INDEX).read_bytes()
    filled = _TOKEN_URL.replace(b'""', b'"%s"' % html.escape(token_url).encode())
    if source.count(_TOKEN_URL) != 1:
        raise ValueError(f"{_INDEX} has no place for the token's address")
    return Asset.of(source.replace(_TOKEN_URL, filled), ".html")


def _read(name: str, path: Path) -> Asset:
    is_versioned = name.startswith(_VENDOR) and path.suffix == ".js"
    return Asset.of(path.read_bytes(), path.suffix, _FOREVER if is_versioned else REVALIDATE)
