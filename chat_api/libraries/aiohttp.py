"""What is used of aiohttp beyond its public interface: setup.cfg allows no release later than the one tried.

A release that changes one of these names fails tests/http/test_connection.py and tests/serving.
"""

from __future__ import annotations

import abc
import asyncio
from typing import Any

from aiohttp import web


class RequestHandler(web.RequestHandler):
    """A connection that says what aiohttp knows of it, which nothing public does."""

    __slots__ = ()

    @property
    def has_served(self) -> bool:
        """Whether a request has arrived on it. `_request_count` is what aiohttp's own timers go by."""
        return bool(self._request_count)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for another request. aiohttp's keep-alive timer recognises this by `_waiter`."""
        waiter = self._waiter
        return self.has_served and waiter is not None and not waiter.done()


class ReplacingRunner(web.AppRunner, abc.ABC):
    """A runner whose server can be replaced: `_make_server` is the only place where aiohttp makes it."""

    @abc.abstractmethod
    def replace_server(self, made: web.Server) -> web.Server:
        """The server to use in place of the one that aiohttp made for the application."""

    async def _make_server(self) -> web.Server:
        return self.replace_server(await super()._make_server())


def server_options(server: web.Server) -> dict[str, Any]:
    """The arguments that aiohttp made a server with, for one that takes its place; they lie in `_kwargs`."""
    return dict(server._kwargs)


def server_loop(server: web.Server) -> asyncio.AbstractEventLoop:
    """The event loop of a server, which its connections need too; it lies in `_loop`."""
    return server._loop


def forget_output(request: web.BaseRequest) -> None:
    """Make the writer forget what it sent: it takes `output_size` above 0 for a response that has begun."""
    request.writer.output_size = 0
