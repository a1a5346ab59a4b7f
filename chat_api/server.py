"""Serving the application: one process, a port or a unix socket, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog
from aiohttp import web

from chat_api.app import create_app
from chat_api.context import GENERATIONS
from chat_api.settings import Settings

log = structlog.get_logger(__name__)


class ServeError(Exception):
    """The server can't start; the text says why and what to do."""


async def serve(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = 8002,
    unix_socket: Path | None = None,
    ready: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve until `stop` is set; without `stop`, until SIGTERM or SIGINT.

    On the way out new answers are refused while the running ones get `drain_seconds`; the listener stays open
    until then, so that readers can come for them and load balancers see /api/ready turn to 503. Raises
    ServeError.
    """
    app = create_app(settings)
    runner = web.AppRunner(
        app,
        access_log=None,  # middlewares.trace writes the line, with its ids
        keepalive_timeout=75,
        shutdown_timeout=2,
        handler_cancellation=False,
    )
    await runner.setup()
    try:
        with contextlib.ExitStack() as stack:
            site: web.BaseSite
            if unix_socket is None:
                site = web.TCPSite(runner, host, port, backlog=1024)
            else:
                site = web.SockSite(runner, stack.enter_context(_bind(unix_socket)), backlog=1024)
            try:
                await site.start()
            except OSError as error:
                raise ServeError(
                    f"can't listen on {host} port {port}: {error.strerror}; "
                    "choose another with --host and --port"
                ) from error
            log.info("listening", address=site.name)
            if ready is not None:
                ready()
            if stop is None:
                await _signalled()
            else:
                await stop.wait()
            log.info("draining", seconds=settings.drain_seconds)
            await app[GENERATIONS].drain()
    finally:
        await runner.cleanup()


async def _signalled() -> None:
    """Until SIGTERM or SIGINT; a second one ends the process at once, as if there were no handler."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    def note(number: signal.Signals) -> None:
        loop.remove_signal_handler(number)
        came.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, note, number)
    await came.wait()


@contextlib.contextmanager
def _bind(path: Path) -> Iterator[socket.socket]:
    """A unix socket that a web server of another user may use; a left-over of a dead server is replaced."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise ServeError(f"another server listens on {path}")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    try:
        try:
            listener.bind(str(path))
            # Connecting wants write permission. Who may is said by the folder, and each request shows its
            # token.
            path.chmod(0o666)
        except OSError as error:
            raise ServeError(f"can't make the socket {path}: {error.strerror or error}") from error
        yield listener
    finally:
        listener.close()
        path.unlink(missing_ok=True)
