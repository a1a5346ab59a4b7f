"""Reading event streams as a client does."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, StreamReader


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as it was received."""

    id: str
    data: dict[str, Any]

    @property
    def seq(self) -> int:
        """The event's number in its generation."""
        return int(self.id.rpartition(":")[2])


async def read_events(
    response: ClientResponse, count: int | None = None, *, seconds: float = 5
) -> list[Seen]:
    """Read all events up to `done`, or the next `count`. Fails if that takes longer than `seconds`."""
    assert response.status == 200, await response.text()
    assert response.content_type == "text/event-stream"
    return await read_lines(response.content, count, seconds=seconds)


async def read_lines(
    stream: StreamReader | asyncio.StreamReader, count: int | None = None, *, seconds: float = 5
) -> list[Seen]:
    """Read events from any stream of lines, as `read_events` does."""
    seen: list[Seen] = []
    last_id = ""
    async with asyncio.timeout(seconds):
        while count is None or len(seen) < count:
            line = (await stream.readline()).decode()
            if not line:
                break
            if line.startswith("id: "):
                last_id = line[4:].strip()
            elif line.startswith("data: "):
                seen.append(Seen(last_id, json.loads(line[6:])))
                if seen[-1].data.get("done"):
                    break
    return seen


def reset_to(content: str) -> dict[str, Any]:
    """The data of a reset to a text without thinking or tool calls."""
    return {"reset": True, "content": content, "reasoning": None, "tool_calls": None}


def text_of(events: list[Seen]) -> str:
    """The answer as a page would show it."""
    return "".join(event.data.get("token", "") for event in events)
