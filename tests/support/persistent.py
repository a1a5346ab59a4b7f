"""A well-behaved client: whatever breaks, it comes back with the last id that it has seen."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import aiohttp

from tests.support.reader import Seen

SECONDS = 30
PAUSE = 0.05  # the pause before it comes back


class Persistent:
    """Reads one answer to its `done`, using the sessions in turn."""

    def __init__(
        self,
        sessions: Iterator[aiohttp.ClientSession],
        path: str,
        user: dict[str, str],
        content: str = "hi",
    ) -> None:
        self._content = content
        self._sessions = sessions
        self._path = path
        self._user = user
        self.seen: list[Seen] = []
        self.attached = 0
        self.grown = asyncio.Event()

    @property
    def done(self) -> bool:
        """Whether it has seen `done`."""
        return bool(self.seen) and self.seen[-1].data.get("done") is True

    async def ask(self, key: str) -> list[Seen]:
        """Send a message and read its answer. The same request is sent again until it gets a response."""
        await self._insist(f"{self._path}/messages", key)
        return await self.read()

    async def read(self) -> list[Seen]:
        """Read the conversation's answer."""
        await self._insist(f"{self._path}/stream", None)
        return self.seen

    async def has(self, count: int) -> None:
        """Wait until it has seen so many events."""
        async with asyncio.timeout(SECONDS):
            while len(self.seen) < count:
                self.grown.clear()
                await self.grown.wait()

    async def _insist(self, path: str, key: str | None) -> None:
        async with asyncio.timeout(SECONDS):
            while not self.done and (key is None or not self.seen):
                # The connection was cut, which is what this client is for.
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    await self._once(path, key)
                await asyncio.sleep(PAUSE)

    async def _once(self, path: str, key: str | None) -> None:
        session = next(self._sessions)
        headers = dict(self._user)
        if key is not None:
            request: Any = session.post(
                path, json={"content": self._content}, headers={**headers, "Idempotency-Key": key}
            )
        else:
            if self.seen:
                headers["Last-Event-ID"] = self.seen[-1].id
            request = session.get(path, headers=headers)
        async with request as response:
            if response.status == 503:
                assert "Retry-After" in response.headers
                return
            assert response.status in (200, 204), await response.text()
            self.attached += 1
            last_id = ""
            async for line in response.content:
                if line.startswith(b"id: "):
                    last_id = line[4:].decode().strip()
                elif line.startswith(b"data: ") and line.endswith(b"\n"):
                    self.seen.append(Seen(last_id, json.loads(line[6:])))
                    self.grown.set()
