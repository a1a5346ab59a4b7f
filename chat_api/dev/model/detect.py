"""Find out which protocol the model server at `--inference-url` speaks."""

from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from chat_api.dev.errors import DevError

Protocol = Literal["nanochat", "chat_web", "openai"]

_TIMEOUT = aiohttp.ClientTimeout(total=10)


async def detect(url: str) -> tuple[str, Protocol]:
    """Find the base URL for INFERENCE_SERVICE_URL, and the protocol of the server there.

    A path that ends in `/v1` means OpenAI, and a host `*.modal.run`, which serves only its own path,
    nanochat. Neither is asked. Otherwise samosaChaat's inference service responds at `{url}/models`,
    and OpenAI at `{url}/v1/models`. nanochat's own server, chat_web, lists no models, and tells its GPUs at
    `{url}/health`. Raises DevError if none does.
    """
    base = url.rstrip("/")
    try:
        parts = urlsplit(base)
    except ValueError:
        parts = urlsplit("")
    host = parts.hostname
    if not host or parts.scheme not in ("http", "https"):
        raise DevError(f"--inference-url {url!r} isn't a URL: give one such as http://127.0.0.1:8080/v1")
    if parts.path.endswith("/v1"):
        return base, "openai"
    if host.endswith(".modal.run"):
        return base, "nanochat"
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        if "current_model" in await _json(session, f"{base}/models"):
            return base, "nanochat"
        if "data" in await _json(session, f"{base}/v1/models"):
            return f"{base}/v1", "openai"
        if "num_gpus" in await _json(session, f"{base}/health"):
            return base, "chat_web"
    raise DevError(
        f"{url} responds neither to /models as nanochat, nor to /health as its chat_web, "
        "nor to /v1/models as OpenAI: check --inference-url"
    )


async def _json(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    """Get the JSON object at `url`; an empty one if something else is there. Raises DevError."""
    try:
        async with session.get(url) as response:
            body = await response.json(content_type=None) if response.ok else None
    except ValueError:
        return {}
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or "no response in time"
        raise DevError(f"No model server responds at {url} ({why}): start it, or give another URL") from None
    return body if isinstance(body, dict) else {}
