"""The private parts of aiohttp that the service uses. setup.cfg allows no release later than the tested one.

A release that changes one of these names fails tests/http (test_connection, test_base_path), tests/serving or
tests/transports.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from aiohttp import web


class Server(web.Server):
    """A server that replaces the one that aiohttp made for an application, with some options changed.

    aiohttp keeps the options of its connections in `_kwargs`, and their event loop in `_loop`.
    """

    def __init__(self, made: web.Server, **changed: Any) -> None:
        self.options = {**made._kwargs, **changed}
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **self.options,
        )
        self.options["loop"] = self._loop


class RequestHandler(web.RequestHandler):
    """A connection that reports its state, for which aiohttp has no public interface."""

    __slots__ = ()

    def __init__(self, server: Server) -> None:
        super().__init__(server, **server.options)

    @property
    def has_served(self) -> bool:
        """Whether a request has arrived on this connection. aiohttp's own timers use `_request_count`."""
        return bool(self._request_count)

    @property
    def is_idle(self) -> bool:
        """Whether this connection waits for another request. aiohttp's keep-alive timer checks `_waiter`."""
        waiter = self._waiter
        return self.has_served and waiter is not None and not waiter.done()


class ReplacingRunner(web.AppRunner, abc.ABC):
    """A runner whose server can be replaced. aiohttp makes the server in `_make_server` only."""

    @abc.abstractmethod
    def replace_server(self, made: web.Server) -> web.Server:
        """Return the server to use instead of the one that aiohttp made for the application."""

    async def _make_server(self) -> web.Server:
        return self.replace_server(await super()._make_server())


class WebSocketResponse(web.WebSocketResponse):
    """A WebSocket that reports each piece of data that arrives, even if it completes no frame.

    aiohttp takes each piece for a sign of life in `_on_data_received`, but only where there is a heartbeat.
    """

    def __init__(self, on_data: Callable[[], None], *, heartbeat: float, **options: Any) -> None:
        super().__init__(heartbeat=heartbeat, **options)
        self._on_data = on_data

    def _on_data_received(self) -> None:
        self._on_data()
        super()._on_data_received()


def close_idle_connections(server: web.Server) -> None:
    """Close the connections that wait for another request.

    aiohttp's own `pre_shutdown` closes nothing, and lets requests wait until the server is gone.
    """
    for connection in server.connections:
        if isinstance(connection, RequestHandler) and connection.is_idle:
            connection.force_close()


def move_below(prefix: str, resource: web.AbstractResource, router: web.UrlDispatcher) -> None:
    """Put a prefix before a resource's path, as add_subapp does. The router indexes resources by path."""
    router.unindex_resource(resource)
    resource.add_prefix(prefix)
    router.index_resource(resource)


class Router(web.UrlDispatcher):
    """A router that takes a path with a slash at its end for the same one, if its resource is `lenient`."""

    def __init__(self) -> None:
        super().__init__()
        self.lenient: set[web.AbstractResource | None] = set()

    async def resolve(self, request: web.Request) -> web.UrlMappingMatchInfo:
        """The route of a request."""
        found = await super().resolve(request)
        path = request.rel_url.raw_path.removesuffix("/")
        if found.http_exception is None or path.endswith("/") or path == request.rel_url.raw_path:
            return found
        try:
            target = request.clone(rel_url=request.rel_url.with_path(path, encoded=True))
        except RuntimeError:  # an application around this one has read the body already
            return found
        shorter = await super().resolve(target)
        is_other_method = shorter.http_exception is not None and shorter.http_exception.status == 405
        return shorter if is_other_method or shorter.route.resource in self.lenient else found


def use_router(app: web.Application, router: Router) -> None:
    """Replace the router of an application that has no routes yet. aiohttp keeps it in `_router`."""
    app._router = router
