"""Bodies that are the same for everybody: compressed and tagged once, then served from memory."""

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
# A file below vendor/ has its version in its name: it is asked for once. The others are asked for each time,
# and mostly answered with 304: so a page never runs with modules of two versions after an update.
_VENDOR = "vendor/"
_FOREVER, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"


@dataclass(frozen=True)
class Asset:
    """A file as it goes out. `etag` is the plain bytes'; `gzipped` is None where that saves nothing."""

    body: bytes
    gzipped: bytes | None
    etag: str
    content_type: str
    cache_control: str

    @classmethod
    def of(cls, body: bytes, suffix: str, cache_control: str = ASK_AGAIN) -> Asset:
        """Some bytes of the type that names with this suffix have."""
        gzipped = gzip.compress(body, mtime=0)
        return cls(
            body=body,
            gzipped=gzipped if len(gzipped) < len(body) else None,
            etag=hashlib.sha256(body).hexdigest()[:32],
            content_type=TYPES[suffix],
            cache_control=cache_control,
        )


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


@cache
def load_assets() -> Mapping[str, Asset]:
    """All files of the page but the page itself, by their path below /web/, with forward slashes."""
    folder = web_dir()
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return MappingProxyType({name: _read(name, path) for name, path in names.items() if name != _INDEX})


@cache
def load_page(token_url: str) -> Asset:
    """The page itself, which gets its tokens from `token_url`; empty: from whoever reads it."""
    source = (web_dir() / _INDEX).read_bytes()
    filled = _TOKEN_URL.replace(b'""', b'"%s"' % html.escape(token_url).encode())
    if source.count(_TOKEN_URL) != 1:
        raise ValueError(f"{_INDEX} has no place for the token's address")
    return Asset.of(source.replace(_TOKEN_URL, filled), ".html")


def _read(name: str, path: Path) -> Asset:
    is_versioned = name.startswith(_VENDOR) and path.suffix == ".js"
    return Asset.of(path.read_bytes(), path.suffix, _FOREVER if is_versioned else ASK_AGAIN)
