"""aioresponses with a fix for aiohttp 3.14 (its issue 289)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import Mock, patch

from aiohttp import ClientResponse
from aioresponses import aioresponses, core


class _Response(ClientResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", Mock(output_size=0))
        super().__init__(*args, **kwargs)


@contextmanager
def intercepted() -> Iterator[aioresponses]:
    """Intercept every call that does not go to loopback."""
    with (
        patch.object(core, "ClientResponse", _Response),
        aioresponses(passthrough=["http://127.0.0.1"]) as interceptor,
    ):
        yield interceptor
