"""Serving the application: one process, its listeners, an orderly end."""

from __future__ import annotations

import asyncio
import enum
import gc
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path

import structlog
from aiohttp import web

from chat_api.app import create_app
from chat_api.http.context import GENERATIONS, REFUSALS
from chat_api.serving import listeners
from chat_api.serving.connection import Connection, Runner
from chat_api.serving.listeners import ServeError
from chat_api.serving.schema_guard import SchemaGuard
from chat_api.serving.signals import signalled
from chat_api.serving.systemd import notify, watchdog
from chat_api.settings import Settings
from chat_api.tracing import load_tracing

__all__ = ["Ending", "ServeError", "run", "serve", "serve_on"]

log = structlog.get_logger(__name__)

# What handlers get to write their last words, after drain. aiohttp waits so long twice.
LAST_WORDS_SECONDS = 2
COLLECTED_OBJECTS = 10000


class Ending(enum.Enum):
    """How a server ends."""

    DRAIN = enum.auto()  # it goes on listening meanwhile: who comes is told 503
    RETIRE = enum.auto()  # others listen on its sockets: who comes is theirs


def run(main: Coroutine[None, None, None]) -> None:
    """Run it on uvloop, where there is one."""
    new_loop: Callable[[], asyncio.AbstractEventLoop]
    try:
        from uvloop import new_event_loop as new_loop  # noqa: PLC0415 - not there on Windows
    except ImportError:
        new_loop = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main)


async def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8002,
    unix_socket: Path | None = None,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    guard: SchemaGuard | None = None,
    more: Iterable[web.AbstractRouteDef] = (),
) -> None:
    """Serve, `more` routes too, until `stop` is set; without `stop`, until SIGTERM or SIGINT.

    On the way out new answers are refused while the running ones get `drain_seconds`; the listener stays open
    until then, so that readers can come for them and load balancers see /api/ready turn to 503. Raises
    ServeError; with a `guard` also for a database that is newer than this code.
    """
    if guard is not None:
        await guard.check()

    async def ending() -> Ending:
        end = signalled() if stop is None else stop.wait()
        await (end if guard is None else guard.until(end))
        notify("STOPPING=1")
        return Ending.DRAIN

    def listening() -> None:
        notify("READY=1")
        if ready is not None:
            ready()

    where = listeners.on_port(host, port) if unix_socket is None else listeners.on_path(unix_socket)
    with where as sockets:
        async with watchdog():
            await serve_on(sockets, settings, listening, ending, more)


async def serve_on(
    sockets: Iterable[socket.socket],
    settings: Settings,
    ready: Callable[[], None],
    ending: Callable[[], Awaitable[Ending]],
    more: Iterable[web.AbstractRouteDef] = (),
) -> None:
    """Serve on listening sockets until `ending` says how to end; `ready` is called once it serves."""
    app = create_app(settings, more, load_tracing())
    runner = Runner(
        app,
        settings,
        app[REFUSALS].note,
        access_log=None,  # middlewares.trace writes the line, with its ids
        keepalive_timeout=75,
        shutdown_timeout=LAST_WORDS_SECONDS,
        handler_cancellation=False,
    )
    await runner.setup()
    try:
        for listener in sockets:
            await web.SockSite(runner, listener, backlog=listeners.BACKLOG).start()
        log.info("listening", addresses=[site.name for site in runner.sites])
        _tune_garbage_collection()
        ready()
        end = await ending()
        log.info("draining", grace_seconds=settings.drain_seconds)
        if end is Ending.RETIRE:
            for site in list(runner.sites):
                await site.stop()
        if runner.server is not None:
            _close_idle(runner.server)
        await app[GENERATIONS].drain()
    finally:
        await runner.cleanup()


def _tune_garbage_collection() -> None:
    """Let the collector look seldom, and not at what the start made, which stays.

    Nearly all that a request makes goes when its last reference does. Python's own threshold, 700 objects, is
    a look for every request or two: a twentieth of what an answer's beginning and end cost.
    """
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS)


def _close_idle(server: web.Server) -> None:
    """End connections that wait for another request, so that it finds another worker.

    All else is heard still, sockets and bodies on their way too, and answered with `Connection: close`. Not
    so by aiohttp's `pre_shutdown`: it closes nothing, but lets whatever comes wait until the server is gone.
    """
    for connection in server.connections:
        if isinstance(connection, Connection) and connection.is_idle:
            connection.force_close()
