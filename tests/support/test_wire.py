"""The wire's own promises: without them, tests would pass by a fault that never happened."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.support.chat import until
from tests.support.wire import Wire

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[..., Awaitable[Streams]]


class Echo:
    """Says what it hears, of which `heard` is all; `came` and `left`: that a client did."""

    def __init__(self) -> None:
        self.heard = b""
        self.came, self.left = asyncio.Event(), asyncio.Event()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.set()
        while data := await reader.read(65536):
            self.heard += data
            writer.write(data)
        self.left.set()
        writer.close()


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
async def wire(echo: Echo) -> AsyncIterator[Wire]:
    server = await asyncio.start_server(echo.take, "127.0.0.1", 0)
    async with Wire("127.0.0.1", server.sockets[0].getsockname()[1]) as wire:
        yield wire
    server.close()


@pytest.fixture
async def dial(wire: Wire) -> AsyncIterator[Dial]:
    """Makes connections over the wire, on which something was said and came back."""
    async with contextlib.AsyncExitStack() as stack:

        async def dial(said: bytes = b"") -> Streams:
            reader, writer = await asyncio.open_connection("127.0.0.1", wire.port)
            stack.callback(writer.close)
            writer.write(said)
            assert await hears(reader, said)
            return reader, writer

        yield dial


async def hears(reader: asyncio.StreamReader, data: bytes) -> bool:
    """Whether this is what comes next."""
    async with asyncio.timeout(5):
        return await reader.readexactly(len(data)) == data


async def ends(reader: asyncio.StreamReader) -> bool:
    """Whether nothing comes any more but the end."""
    async with asyncio.timeout(5):
        return await reader.read() == b""


async def never(what: Awaitable[object]) -> bool:
    """Whether this doesn't happen in a tenth of a second."""
    try:
        await asyncio.wait_for(what, 0.1)
    except TimeoutError:
        return True
    return False


async def is_silent(reader: asyncio.StreamReader) -> bool:
    """Whether nothing comes, not even the end."""
    return await never(reader.read(1))


async def test_what_hangs_arrives_later_in_both_directions(wire: Wire, dial: Dial, echo: Echo) -> None:
    reader, writer = await dial(b"a")
    [connection] = wire.connections
    wire.hang()
    writer.write(b"b")
    assert await is_silent(reader)
    assert echo.heard == b"a"
    wire.resume()
    assert await hears(reader, b"b")
    assert wire.connections == {connection}


async def test_new_connections_hang_too(wire: Wire, dial: Dial, echo: Echo) -> None:
    wire.hang()
    reader, writer = await dial()
    writer.write(b"a")
    assert await is_silent(reader)
    assert not echo.came.is_set()
    wire.resume()
    assert await hears(reader, b"a")


async def test_an_end_hangs_too(wire: Wire, dial: Dial, echo: Echo) -> None:
    _, writer = await dial(b"a")
    wire.hang()
    writer.close()
    assert await never(echo.left.wait())
    wire.resume()
    await asyncio.wait_for(echo.left.wait(), 5)


async def test_what_hangs_can_be_cut(wire: Wire, dial: Dial) -> None:
    reader, writer = await dial(b"a")
    wire.hang()
    writer.write(b"b")
    assert await is_silent(reader)
    wire.cut()
    assert await ends(reader)
    await until(lambda: asyncio.sleep(0, not wire.connections))


async def test_ignored_connections_pass_nothing_and_new_ones_do(wire: Wire, dial: Dial, echo: Echo) -> None:
    reader, writer = await dial(b"a")
    wire.hang()
    writer.write(b"b")
    assert await is_silent(reader)
    wire.ignore()
    wire.resume()
    await dial(b"c")
    assert await is_silent(reader)
    assert echo.heard == b"ac"


async def test_a_black_hole_takes_new_connections_only(wire: Wire, dial: Dial, echo: Echo) -> None:
    reader, writer = await dial(b"a")
    wire.arrivals = "ignore"
    unheard, to_nobody = await dial()
    to_nobody.write(b"b")
    assert await is_silent(unheard)
    writer.write(b"c")
    assert await hears(reader, b"c")
    wire.mend()
    assert await is_silent(unheard)
    assert echo.heard == b"ac"


async def test_while_it_is_cut_connections_break_and_are_refused(wire: Wire, dial: Dial) -> None:
    reader, _ = await dial(b"a")
    wire.cut()
    assert await ends(reader)
    refused, _ = await dial()
    assert await ends(refused)
    assert (wire.cuts, wire.refused) == (1, 1)
    wire.mend()
    await dial(b"b")


async def test_nothing_passes_once_it_is_cut(wire: Wire, dial: Dial, echo: Echo) -> None:
    _, writer = await dial(b"a")
    writer.write(b"b")
    wire.drop()
    await dial(b"c")
    assert echo.heard == b"ac"


async def test_a_reply_is_lost_once_and_its_request_arrives(wire: Wire, dial: Dial, echo: Echo) -> None:
    reader, writer = await dial(b"a")
    wire.lose_reply_to = b"b"
    writer.write(b"abc")
    assert await ends(reader)
    assert echo.heard == b"aabc"
    assert (wire.cuts, wire.lose_reply_to) == (1, None)
    await dial(b"b")


async def test_half_of_it_arrives_once(wire: Wire, dial: Dial, echo: Echo) -> None:
    reader, writer = await dial()
    wire.halve = b"b"
    writer.write(b"abcd")
    await asyncio.wait_for(echo.left.wait(), 5)
    assert await ends(reader)
    assert echo.heard == b"ab"
    assert (wire.cuts, wire.halve) == (1, None)
    await dial(b"b")


async def test_what_is_delayed_arrives_late(wire: Wire, dial: Dial) -> None:
    reader, writer = await dial()
    wire.delay = 0.2
    writer.write(b"a")
    assert await is_silent(reader)
    assert await hears(reader, b"a")
