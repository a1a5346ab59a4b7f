"""How long a server may be silent while it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chat_api import errors

if TYPE_CHECKING:
    from chat_api.inference.base import Listener
    from chat_api.inference.endpoint import Endpoint


@asynccontextmanager
async def limited(endpoint: Endpoint, listener: Listener) -> AsyncIterator[None]:
    """A block that raises InferenceTimeout if the server is silent for too long within it.

    Whatever the server sends breaks the silence: text, thinking, a tool call, a sign of life. The timer isn't
    reset each time, which would cost more than a token: it looks when the silence would have been too long,
    and sleeps again for what remains.
    """
    loop = asyncio.get_running_loop()
    limit = asyncio.timeout(None)
    timer: asyncio.TimerHandle | None = None

    def look() -> None:
        nonlocal timer
        now = loop.time()
        due = listener.heard_at + (
            endpoint.token_timeout if listener.has_spoken else endpoint.first_token_timeout
        )
        if now >= due:
            limit.reschedule(now)
        else:
            # The first word shortens what remains, so look no later than a silence after it could end.
            timer = loop.call_at(min(due, now + endpoint.token_timeout), look)

    try:
        async with limit:
            look()
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise errors.InferenceTimeout from None
    finally:
        if timer is not None:
            timer.cancel()
