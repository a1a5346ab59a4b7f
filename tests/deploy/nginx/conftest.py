"""The service behind nginx."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from chat_api.serving.server import serve
from chat_api.settings import Settings
from tests.conftest import Start
from tests.deploy.nginx.server import OWN_HOSTS, Nginx

# Takes a site's name and the service's settings; starts the service with nginx in front of it.
Front = Callable[..., Awaitable[Nginx]]


@pytest.fixture
async def front(start: Start, settings: Settings) -> AsyncIterator[Front]:
    """Start the service and nginx with a site in front of it."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(
            site: str = "own-host", adapted: dict[str, str] | None = None, **changes: object
        ) -> Nginx:
            if site not in OWN_HOSTS:
                changes = {"base_path": "/chat", **changes}
            client = await start(settings.model_copy(update=changes))
            adapted = {"127.0.0.1:8002": f"127.0.0.1:{client.port}", **(adapted or {})}
            return await stack.enter_async_context(Nginx(site, "port", adapted))

        yield run


@pytest.fixture
async def unix_front(settings: Settings) -> AsyncIterator[Front]:
    """Start the service on a Unix socket, and nginx with a site in front of it."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(**changes: object) -> Nginx:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-")))
            folder.chmod(0o755)  # noqa: ASYNC240
            stop, ready = asyncio.Event(), asyncio.Event()
            group = await stack.enter_async_context(asyncio.TaskGroup())
            stack.callback(stop.set)
            changed = settings.model_copy(update=changes)
            group.create_task(serve(changed, unix_socket=folder / "socket", ready=ready.set, stop=stop))
            async with asyncio.timeout(5):
                await ready.wait()
            adapted = {"/run/chat-api/socket": str(folder / "socket")}
            return await stack.enter_async_context(Nginx("own-host", "unix-socket", adapted))

        yield run
