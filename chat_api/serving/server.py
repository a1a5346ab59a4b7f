"""Serve the application in one process: its listeners, and its orderly end."""

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
from chat_api.http.context import GENERATIONS
from chat_api.libraries.aiohttp import close_idle_connections
from chat_api.serving import listeners
from chat_api.serving.connection import Runner
from chat_api.serving.deadline import END_SECONDS, Deadline
from chat_api.serving.files import Files
from chat_api.serving.listeners import ServeError
from chat_api.serving.schema_guard import SchemaGuard
from chat_api.serving.signals import is_terminal, signalled
from chat_api.serving.systemd import notify, watchdog
from chat_api.settings import Settings
from chat_api.tracing import load_tracing

__all__ = ["Ending", "ServeError", "run", "serve", "serve_on"]

log = structlog.get_logger(__name__)

# How long handlers get after the drain to write their last bytes. aiohttp waits that long twice.
LAST_WORDS_SECONDS = 2
COLLECTED_OBJECTS = 10000


class Ending(enum.Enum):
    """How a server ends."""

    DRAIN = enum.auto()  # it keeps listening meanwhile, and refuses new answers with 503
    RETIRE = enum.auto()  # it stops listening: other workers listen on its sockets


def run(main: Coroutine[None, None, None]) -> None:
    """Run a coroutine on uvloop, or on asyncio's own loop if uvloop isn't installed."""
    new_loop: Callable[[], asyncio.AbstractEventLoop]
    try:
        from uvloop import new_event_loop as new_loop  # noqa: PLC0415 - Windows has none
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
    """Serve the application, with the extra routes `more`, until `stop` is set (default: SIGTERM, SIGINT).

    Then new answers are refused, and running ones get `drain_seconds` to finish. The listener stays open
    meanwhile, so that readers can attach to them and load balancers see /api/ready turn to 503. After a
    signal, the process ends within `drain_seconds` and another 16, whatever hangs. Raises ServeError; with a
    `guard`, also if the database is newer than this release.
    """
    if guard is not None:
        await guard.check()

    async def ending() -> Ending:
        end = signalled(Deadline(settings.drain_seconds + END_SECONDS)) if stop is None else stop.wait()
        await (end if guard is None else guard.watch_until(end))
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
    """Serve on listening sockets until `ending` returns how to end. `ready` is called once it serves."""
    app = create_app(settings, more, load_tracing())
    runner = Runner(
        app,
        access_log=None,  # middlewares.trace writes the line, with its ids
        keepalive_timeout=75,
        shutdown_timeout=LAST_WORDS_SECONDS,
        handler_cancellation=False,
    )
    await runner.setup()
    files = Files(app) if settings.models_file or settings.sql_dir else None
    if files is not None and not is_terminal():
        files.open()
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
            # So that their clients go to another worker. Requests in progress, sockets and half-read bodies
            # included, are still served, with `Connection: close`.
            close_idle_connections(runner.server)
        await app[GENERATIONS].drain()
    finally:
        if files is not None:
            await files.close()
        await runner.cleanup()


def _tune_garbage_collection() -> None:
    """Run the garbage collector rarely, and exempt the objects made at the start, which stay.

    Nearly all objects of a request are freed with their last reference. Python's default threshold of 700
    objects means a collection for every request or two, a twentieth of what the start and the end of an
    answer cost.
    """
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS)
