"""A user who imports files."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Client

Bring = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def bring(client: Client, user: dict[str, str]) -> Bring:
    """Import a file, or bytes, as a user. Returns the report, or the error's body with its `status`."""

    def content(file: Path | bytes) -> bytes:
        return file if isinstance(file, bytes) else file.read_bytes()

    async def send(file: Path | bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        data = io.BytesIO(content(file))
        async with client.post("/api/import", data=data, headers=headers or user) as response:
            body: dict[str, Any] = await response.json()
            return body if response.status == 200 else {**body, "status": response.status}

    return send
