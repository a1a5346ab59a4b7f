"""What `GET /api/models` says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from chat_api.inference.base import read_object
from chat_api.inference.servers.served import Client, Served
from chat_api.settings.models import Model


async def of_server(client: Client) -> bytes:
    """The models as the one server lists them, with details. Raises InferenceErrors."""
    body = await client.inference.models()
    listed = read_object(body)
    names = listed.get("models")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        return body
    details = [_detail(name, client.endpoint.model, is_available=True) for name in names]
    return orjson.dumps({**listed, "details": details})


async def of_file(default: str, usable: Sequence[Served]) -> bytes:
    """These models; whether one is available, its servers tell."""
    details = await asyncio.gather(*(_details(served) for served in usable))
    tags = [served.tag for served in usable]
    return orjson.dumps({"current_model": default, "models": tags, "details": details})


async def _details(served: Served) -> dict[str, Any]:
    available = await asyncio.gather(
        *(client.server.is_available(client.inference) for client in served.clients)
    )
    return _detail(served.tag, served.model, is_available=any(available))


def _detail(tag: str, model: Model, *, is_available: bool) -> dict[str, Any]:
    thinking = model.thinking
    return {
        "tag": tag,
        "name": model.name or tag,
        "description": model.description or None,
        "context_tokens": model.context_tokens,
        "thinking": bool(thinking.on or thinking.off or thinking.instructions),
        "available": is_available,
    }
