"""The log of a service that runs as a process, in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.processes import until


def lines(log: Path, event: str) -> list[dict[str, Any]]:
    """What the log has of an event."""
    whole = [line for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in map(json.loads, whole) if line["event"] == event]


async def logged(log: Path, event: str, times: int = 1) -> dict[str, Any]:
    """Wait until the log has an event so many times, and return its last line."""

    async def found() -> bool:
        return len(lines(log, event)) == times

    await until(found)
    return lines(log, event)[-1]


def has_line(log: Path, text: str) -> bool:
    """Whether the log has this line."""
    return text in log.read_text().splitlines()
