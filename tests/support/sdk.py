"""OpenAI's own library, as a program uses it with this service."""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from openai import AsyncOpenAI

from tests.support.chat import Client


def connected(url: str, user: dict[str, str], **more: Any) -> AsyncOpenAI:
    """The library's client for a service at this URL. It takes no response that isn't as its types say."""
    token = user["Authorization"].removeprefix("Bearer ")
    given = {"max_retries": 0, "timeout": 30.0, **more}
    return AsyncOpenAI(base_url=f"{url}/v1", api_key=token, _strict_response_validation=True, **given)


def sdk_of(client: Client, user: dict[str, str], **more: Any) -> AsyncOpenAI:
    """The same, for a service in this process."""
    return connected(str(client.make_url("")).rstrip("/"), user, **more)


async def collect(stream: AsyncIterable[Any], count: int | None = None) -> list[dict[str, Any]]:
    """The events of a stream as they came; `count`: only so many."""
    seen: list[dict[str, Any]] = []
    async for event in stream:
        seen.append(event.to_dict())
        if len(seen) == count:
            break
    return seen


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Their types, without what all have."""
    return [each["type"].removeprefix("response.") for each in events]


def text_of(events: list[dict[str, Any]]) -> str:
    """What the deltas say."""
    return "".join(each["delta"] for each in events if each["type"] == "response.output_text.delta")
