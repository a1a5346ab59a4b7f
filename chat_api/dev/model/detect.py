"""Which protocol the model server behind `--inference-url` speaks."""

from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from chat_api.dev.errors import DevError

Protocol = Literal["nanochat", "openai"]

_TIMEOUT = aiohttp.ClientTimeout(total=10)


async def detect(url: str) -> tuple[str, Protocol]:
    """The base URL for INFERENCE_SERVICE_URL, and the protocol behind it.

    A path that ends in `/v1` is OpenAI's and is not asked; nor is `*.modal.run`, which has no other path
    than its own. Else `{url}/models` tells nanochat, and `{url}/v1/models` OpenAI. Raises DevError where
    neither answers.
    """
    base = url.rstrip("/")
    try:
        parts = urlsplit(base)
    except ValueError:
        parts = urlsplit("")
    host = parts.hostname
    if not host or parts.scheme not in ("http", "https"):
        raise DevError(f"--inference-url {url!r} is no URL: give one such as http://127.0.0.1:8080/v1")
    if parts.path.endswith("/v1"):
        return base, "openai"
    if host.endswith(".modal.run"):
        return base, "nanochat"
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        if "current_model" in await _json(session, f"{base}/models"):
            return base, "nanochat"
        if "data" in await _json(session, f"{base}/v1/models"):
            return f"{base}/v1", "openai"
    raise DevError(
        f"{url} answers neither /models as nanochat nor /v1/models as OpenAI: look at --inference-url"
    )


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """The JSON object at `url`, empty where something else is there."""
    try:
        async with session.get(url) as response:
            body = await response.json(content_type=None) if response.ok else None
    except ValueError:
        return {}
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or "no answer in time"
        raise DevError(f"No model server answers at {url} ({why}): start it, or give another URL") from None
    return body if isinstance(body, dict) else {}
