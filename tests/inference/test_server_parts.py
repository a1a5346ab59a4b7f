"""A server's slots and breaker, and how long it may be silent: what no test of whole answers can time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from chat_api import errors
from chat_api.inference.base import Listener
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.servers.breaker import Breaker, State
from chat_api.inference.servers.silence import limited
from chat_api.inference.servers.slots import Slots


async def test_a_slot_that_is_given_to_who_leaves_at_that_moment_goes_to_the_next() -> None:
    slots = Slots(1)
    assert await slots.take(0)
    leaving, next_ = [asyncio.create_task(slots.take(5)) for _ in range(2)]
    await asyncio.sleep(0)
    slots.give_back()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await next_
    assert (slots.taken, slots.waiting) == (1, 0)


async def test_a_slot_that_comes_too_late_stays_free_for_others() -> None:
    slots = Slots(1)
    assert await slots.take(0)
    assert not await slots.take(0.01)
    slots.give_back()
    assert (slots.taken, slots.waiting) == (0, 0)
    assert await slots.take(0)


async def test_who_comes_later_does_not_overtake_who_waits() -> None:
    slots = Slots(1)
    assert await slots.take(0)
    first = asyncio.create_task(slots.take(5))
    await asyncio.sleep(0)
    slots.give_back()
    assert not await slots.take(0)
    assert await first


async def test_a_try_that_is_stopped_leaves_the_next_one_to_show_whether_the_server_is_back() -> None:
    breaker = Breaker(1, 0.01)
    breaker.begin()
    breaker.failed()
    assert breaker.state is State.OPEN
    await asyncio.sleep(0.02)
    assert breaker.state is State.HALF_OPEN
    assert breaker.begin()
    assert breaker.state is State.OPEN
    breaker.given_up()
    assert breaker.state is State.HALF_OPEN


async def test_the_silence_after_a_late_first_word_is_the_shorter_one() -> None:
    loop = asyncio.get_running_loop()
    listener = SimpleNamespace(has_spoken=False, heard_at=loop.time())
    endpoint = SimpleNamespace(first_token_timeout=60.0, token_timeout=0.2)

    def speak() -> None:
        listener.has_spoken, listener.heard_at = True, loop.time()

    loop.call_later(0.1, speak)
    began = loop.time()
    with pytest.raises(errors.InferenceTimeout):
        async with asyncio.timeout(5), limited(cast("Endpoint", endpoint), cast("Listener", listener)):
            await asyncio.sleep(10)
    assert 0.3 <= loop.time() - began < 2
