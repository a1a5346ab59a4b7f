"""The client on bad networks: cut, silent, offline, blocking; and after sleep."""

import asyncio
import json
import signal
from typing import Any, Literal
from urllib.parse import urlencode

import pytest
from playwright.async_api import BrowserContext, Page

from chat_api.settings import Settings
from tests.browser.answers import begin, is_whole, tokens_of
from tests.browser.conftest import Console, Served
from tests.browser.embedded import Embedded
from tests.browser.site import Site
from tests.support.auth_service import AuthService
from tests.support.chat import until
from tests.support.model_server import ModelServer
from tests.support.processes import Service, free_port
from tests.support.tab import token_of
from tests.support.wire import HttpWire

both = pytest.mark.parametrize("transport", ["sse", "ws"])


@pytest.fixture(autouse=True)
def networks_break(console: Console) -> None:
    """The browser logs each failed request, whatever the page does."""
    console.allow("Failed to load resource: net::ERR_")
    console.allow("WebSocket connection to .* failed")


@both
async def test_answer_goes_on_where_the_network_cut_it(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    _, answer, call = await begin(embedded, service, transport, "a", "b")
    wire.cut()
    await embedded.reported("statuses", "reconnecting")
    call.say("c")
    wire.mend()
    await answer.events(4)
    call.finish("d")
    events = await answer.events()
    assert is_whole(events)
    assert tokens_of(events) == ["a", "b", "c", "d"]
    assert await embedded.record("statuses") == ["reconnecting", "online"]


@both
async def test_what_was_seen_is_not_sent_again(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    frames: list[dict[str, Any]] = []
    embedded.page.on(
        "websocket", lambda socket: socket.on("framereceived", lambda text: frames.append(json.loads(text)))
    )
    asked: list[str] = []
    embedded.page.on("request", lambda request: asked.append(request.url))
    _, answer, call = await begin(embedded, service, transport, "a", "b")
    last = await answer.last_event_id()
    wire.drop()
    call.say("c")
    await answer.events(4)
    if transport == "ws":
        assert [frame["seq"] for frame in frames if "seq" in frame] == [0, 1, 2, 3]
    else:
        assert asked[-1].endswith(f"/stream?{urlencode({'after': last})}")


async def test_leaving_lets_go_of_the_connection(embedded: Embedded, service: Served, wire: HttpWire) -> None:
    _, answer, _ = await begin(embedded, service, "sse", "a")
    before = len(wire.connections)
    await answer.leave()
    await until(lambda: asyncio.sleep(0, len(wire.connections) < before))


@both
async def test_answer_that_ends_while_the_network_is_away_is_read_to_its_end(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    wire.cut()
    call.finish("b")
    wire.mend()
    assert is_whole(await answer.events())
    assert await embedded.messages(conversation) == [("user", "Hi"), ("assistant", "ab")]


@both
async def test_network_that_breaks_again_and_again_costs_no_token(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    _, answer, call = await begin(embedded, service, transport)
    tokens = [f"{number} " for number in range(60)]
    for number, token in enumerate(tokens):
        call.say(token)
        if number % 12 == 5:
            wire.drop()
            await answer.events(number)
    call.finish()
    events = await answer.events()
    assert is_whole(events)
    assert tokens_of(events) == tokens


@both
async def test_browser_that_is_offline_goes_on_when_it_is_back(
    embedded: Embedded, service: Served, context: BrowserContext, wire: HttpWire, transport: str
) -> None:
    _, answer, call = await begin(embedded, service, transport, "a")
    await context.set_offline(True)
    wire.drop()
    await embedded.reported("statuses", "offline")
    call.say("b")
    await context.set_offline(False)
    await embedded.reported("statuses", "online")
    await answer.events(3)
    call.finish("c")
    events = await answer.events()
    assert is_whole(events)
    assert tokens_of(events) == ["a", "b", "c"]


@both
async def test_message_sent_while_the_network_is_away_is_sent_when_it_is_back(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    wire.cut()
    answer = await embedded.send(conversation)
    await embedded.reported("statuses", "reconnecting")
    wire.mend()
    (await service.model.call()).finish("x")
    assert is_whole(await answer.events())
    assert await embedded.messages(conversation) == [("user", "Hi"), ("assistant", "x")]


@both
async def test_message_whose_answer_was_lost_is_stored_once(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    if transport == "ws":
        warm = await embedded.send(await embedded.conversation())
        (await service.model.call()).finish()
        await warm.events()
        wire.lose_reply_to = b""  # for any next frame, because a browser masks what it sends on a WebSocket
    else:
        wire.lose_reply_to = b"POST /api/conversations/"
    answer = await embedded.send(conversation, "Once")
    call = await service.model.call()
    call.finish("x")
    assert is_whole(await answer.events())
    assert wire.cuts == 1
    assert await embedded.messages(conversation) == [("user", "Once"), ("assistant", "x")]


@both
async def test_silent_connection_is_given_up(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    await embedded.page.clock.install()
    conversation, answer, call = await begin(embedded, service, transport, "a")
    wire.ignore()
    call.say("b")
    await embedded.page.clock.fast_forward(14_000)  # a WebSocket is probed
    await embedded.page.clock.fast_forward(17_000)
    await embedded.reported("statuses", "reconnecting")
    await embedded.page.clock.fast_forward(1000)
    await answer.events(3)
    call.finish("c")
    assert is_whole(await answer.events())
    wire.drop()  # the browser would send the probe over a forgotten connection
    assert (await embedded.messages(conversation))[1] == ("assistant", "abc")


@both
async def test_page_that_wakes_from_sleep_looks_whether_its_connection_lives(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    await embedded.page.clock.install()
    _, answer, call = await begin(embedded, service, transport, "a")
    wire.ignore()  # as a router does with a sleeping machine's connections
    call.say("b")
    await embedded.page.clock.set_system_time("2031-01-01T00:00:00")  # timers don't run during sleep
    await embedded.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    if transport == "ws":
        await embedded.page.clock.fast_forward(6000)
    await embedded.page.clock.fast_forward(1000)
    await answer.events(3)
    call.finish("c")
    assert is_whole(await answer.events())


@pytest.mark.parametrize("how", ["refuse", "ignore"])
async def test_where_websockets_are_blocked_streams_are_used(
    embedded: Embedded, service: Served, wire: HttpWire, how: Literal["refuse", "ignore"]
) -> None:
    wire.upgrades = how
    await embedded.begin("ws")
    answer = await embedded.send(await embedded.conversation())
    await embedded.reported("transports", "sse")
    (await service.model.call()).finish("a", "b")
    assert is_whole(await answer.events())
    assert await embedded.record("transports") == ["sse"]
    assert await embedded.page.evaluate("chat.transport") == "sse"
    assert wire.upgrades_asked <= 2
    later = await embedded.send(await embedded.conversation())
    (await service.model.call()).finish("c")
    assert is_whole(await later.events())
    assert wire.upgrades_asked <= 2


async def test_another_network_is_tried_with_a_websocket_again(
    embedded: Embedded, service: Served, wire: HttpWire
) -> None:
    wire.upgrades = "refuse"
    _, answer, call = await begin(embedded, service, "ws", "a")
    call.finish()
    await answer.events()
    wire.upgrades = "pass"
    await embedded.page.evaluate("window.dispatchEvent(new Event('online'))")
    assert await embedded.page.evaluate("chat.transport") == "ws"
    again = await embedded.send(await embedded.conversation())
    (await service.model.call()).finish("b")
    assert is_whole(await again.events())


async def test_network_that_is_away_is_not_taken_for_one_that_blocks_websockets(
    embedded: Embedded, service: Served, wire: HttpWire
) -> None:
    _, answer, call = await begin(embedded, service, "ws", "a")
    wire.cut()
    await until(lambda: asyncio.sleep(0, wire.refused >= 4))
    wire.mend()
    call.finish("b")
    assert is_whole(await answer.events())
    assert await embedded.page.evaluate("chat.transport") == "ws"


async def test_changing_the_transport_in_mid_answer_loses_nothing(
    embedded: Embedded, service: Served, wire: HttpWire
) -> None:
    conversation, answer, call = await begin(embedded, service, "ws", "a")
    await embedded.page.evaluate("chat.transport = 'sse'")
    call.say("b")
    await answer.events(3)
    await embedded.page.evaluate("chat.transport = 'ws'")
    call.finish("c")
    assert is_whole(await answer.events())
    again = await embedded.send(conversation)
    (await service.model.call()).finish("d")
    assert is_whole(await again.events())
    assert wire.upgrades_asked == 2


@both
async def test_who_stays_hears_of_an_answer_that_came_and_went_while_the_network_was_away(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    await embedded.follow(conversation)
    await asyncio.sleep(0.5)
    wire.cut()
    service.model.say = ["else", "where"]
    response = await service.client.post(
        f"/api/conversations/{conversation}/messages",
        json={"content": "Hi", "stream": False},
        headers={"Authorization": f"Bearer {embedded.token}"},
    )
    assert response.status == 200
    wire.mend()
    followed = await embedded.followed(0)
    events = await followed.events()
    assert [event["type"] for event in events] == ["reset", "done"]
    assert await followed.text() == "elsewhere"


async def test_connection_is_used_again_after_an_answer(
    embedded: Embedded, service: Served, wire: HttpWire
) -> None:
    service.model.say = ["x"]
    wire.piece = 3  # the stream's end arrives separately from its last event
    await embedded.begin()
    conversation = await embedded.conversation()
    await (await embedded.send(conversation)).events()
    made = len(wire.requests)
    for _ in range(5):
        await (await embedded.send(conversation)).events()
    assert len(wire.requests) == made


@pytest.mark.parametrize("order", [[0.999, 0], [0, 0.999]])
async def test_who_stays_and_whose_message_is_sent_twice_gets_its_answer_once(
    embedded: Embedded, service: Served, wire: HttpWire, order: list[float]
) -> None:
    """After the break, the conversation is followed before the message is known to be the client's own."""
    await embedded.begin("ws")
    conversation = await embedded.conversation()
    await embedded.follow(conversation)
    first = await embedded.send(conversation)
    (await service.model.call()).finish()
    await first.events()
    wire.lose_reply_to = b""
    # Either one waits longer before it comes back.
    await embedded.page.evaluate("(order) => { let n = 0; Math.random = () => order[n++ % 2]; }", order)
    answer = await embedded.send(conversation, "Once")
    call = await service.model.call()
    call.say("x")
    await answer.events(2)
    call.finish("y")
    assert is_whole(await answer.events())
    assert wire.cuts == 1
    assert await embedded.record("followed") == []


@both
async def test_service_that_is_restarted_in_mid_answer_tells_how_it_ended(
    page: Page, site: Site, settings: Settings, model: ModelServer, auth: AuthService, transport: str
) -> None:
    port = free_port()
    settings = settings.model_copy(update={"frontend_url": site.url, "drain_seconds": 0.2})
    await page.goto(site.url)
    embedded = Embedded(page, f"http://127.0.0.1:{port}", token_of(auth.sign_in()))
    async with Service(settings, port=port) as first:
        await embedded.begin(transport)
        conversation = await embedded.conversation()
        answer = await embedded.send(conversation)
        call = await model.call()
        call.say("So ", "far")
        await answer.events(3)
        first.send(signal.SIGTERM)
        assert await first.ended() == 0
    async with Service(settings, port=port):
        events = await answer.events()
        assert is_whole(events)
        assert events[-1]["finish_reason"] == "interrupted"
        assert await answer.text() == "So far"
        again = await embedded.read("regenerate", conversation)
        (await model.call()).finish("All of it")
        assert is_whole(await again.events())
        assert await embedded.messages(conversation) == [("user", "Hi"), ("assistant", "All of it")]
