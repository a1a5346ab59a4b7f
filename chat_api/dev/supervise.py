"""Restart a process of the development stack whenever it ends."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

from chat_api.dev.errors import DevError

_STEADY_SECONDS = 30
_FIRST_DELAY = 0.5
_LONGEST_DELAY = 15


async def keep_alive(
    name: str,
    ended: Callable[[], Awaitable[object]],
    start: Callable[[], Awaitable[object]],
    say: Callable[[str], None],
) -> NoReturn:
    """Start a process again each time `ended()` returns, until this is cancelled.

    After a long run it is started at once. After a short run, or a start that raised a DevError, there is a
    delay, which doubles up to 15 s.
    """
    clock = asyncio.get_running_loop().time
    delay = 0.0
    while True:
        began = clock()
        await ended()
        if clock() - began > _STEADY_SECONDS:
            delay = 0.0
        say(f"{name} ended unexpectedly; starting it again")
        while True:
            await asyncio.sleep(delay)
            delay = min(max(2 * delay, _FIRST_DELAY), _LONGEST_DELAY)
            try:
                await start()
            except DevError as error:
                say(f"{error}; next attempt in {delay:g} s")
            else:
                say(f"{name} is running again")
                break
