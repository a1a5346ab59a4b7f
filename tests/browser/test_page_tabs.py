"""The page while another device uses the same conversation: in any order, it ends with what is stored."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientResponse
from playwright.async_api import BrowserContext, Locator, Request, Route, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.support.chat import Chat, open_chat
from tests.support.model_server import Call
from tests.support.reader import read_events


@dataclass
class Reads:
    """The tab's reads of its conversation. Each is answered at once; one that is held arrives later."""

    answered: asyncio.Event = field(default_factory=asyncio.Event)
    overtaken: asyncio.Event = field(default_factory=asyncio.Event)  # a later one has arrived before it
    failures: int = 0  # the next ones that fail, with a 503
    _arrives: asyncio.Event = field(default_factory=asyncio.Event)
    _before: int = -1  # those that pass before the one that is held; negative: none is

    def hold(self, number: int = 1) -> None:
        """Hold the next read, or a later one; `answered` and `overtaken` are about this one."""
        self._before = number - 1
        self.answered.clear()
        self._arrives.clear()

    def arrive(self) -> None:
        """Let it arrive, and hold no other."""
        self._before = -1
        self._arrives.set()

    async def handle(self, route: Route) -> None:
        """See Page.route."""
        if route.request.method != "GET":
            return await route.continue_()
        if self.failures:
            self.failures -= 1
            body = '{"detail": "Not now.", "code": "busy"}'
            return await route.fulfill(status=503, body=body, content_type="application/json")
        is_held = self._before == 0
        self._before -= 1
        response = await route.fetch()
        if is_held:
            self.answered.set()
            await self._arrives.wait()
        await route.fulfill(response=response)
        if self.answered.is_set():
            self.overtaken.set()
        return None


@dataclass(frozen=True)
class Answered:
    """An answer on its way to the device."""

    response: ClientResponse
    call: Call

    async def end(self, text: str) -> None:
        """Let the model say this, and wait until it is stored."""
        self.call.finish(text)
        await read_events(self.response)


@dataclass
class Shared:
    """A tab, and another device with the same conversation."""

    tab: ChatPage
    device: Chat
    transport: str
    reads: Reads = field(default_factory=Reads)
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # the tab has read an answer to its end

    @property
    def title(self) -> Locator:
        """The conversation's title above its messages."""
        return self.tab.page.get_by_role("heading", level=1)

    @property
    def own_read(self) -> int:
        """Which read is the page's own when an answer begins: without a socket, the client reads first."""
        return 1 if self.transport == "ws" else 2

    async def begin(self, response: Awaitable[ClientResponse]) -> Answered:
        """The device asks, and the model is about to answer."""
        return Answered(await response, await self.tab.model.call())

    async def is_right(self) -> None:
        """The tab ends with what is stored."""
        stored = await self.device.get()
        texts = {
            role: [each["content"] for each in stored["messages"] if each["role"] == role]
            for role in ("user", "assistant")
        }
        await expect(self.tab.asked).to_have_text(texts["user"])
        await expect(self.tab.said).to_have_text(texts["assistant"])
        await expect(self.title).to_have_text(stored["title"])
        await self.tab.idle()

    def listen(self) -> None:
        """Notice the ends of answers."""
        self.tab.page.on("websocket", lambda socket: socket.on("framereceived", self._hear))
        self.tab.page.on("requestfinished", self._finish)

    def _hear(self, frame: str | bytes) -> None:
        if '"type":"done"' in str(frame):
            self.ended.set()

    def _finish(self, request: Request) -> None:
        if "/stream?" in request.url:
            self.ended.set()


@pytest.fixture
async def shared(
    context: BrowserContext, reader_transport: None, service: Served, request: pytest.FixtureRequest
) -> AsyncIterator[Shared]:
    """A conversation with A and a, which the tab follows."""
    token = service.token()
    device = await open_chat(service.client, {"Authorization": f"Bearer {token}"})
    response = await device.send("A")
    await Answered(response, await service.model.call()).end("a")
    tab = await open_tab(context, service.address, token, service.model)
    shared = Shared(tab, device, request.node.callspec.params["reader_transport"])
    shared.listen()
    await tab.page.route(re.compile(re.escape(device.path) + "$"), shared.reads.handle)
    await tab.row("A").click()
    await expect(tab.said).to_have_text("a")
    assert (await device.change(title="Chai")).status == 200
    await expect(shared.title).to_have_text("Chai")  # it follows
    yield shared
    shared.reads.arrive()
    await tab.page.unroute_all(behavior="wait")


Ask = Callable[[Chat], Awaitable[ClientResponse]]
ASKED: dict[str, Ask] = {
    "message": lambda device: device.send("B"),
    "edit": lambda device: device.send("A2", parent_id=None),
    "regeneration": lambda device: device.regenerate(),
}


@pytest.mark.parametrize("asked", ASKED)
async def test_an_answer_that_ends_while_the_page_reads_is_shown(shared: Shared, asked: str) -> None:
    shared.reads.hold(shared.own_read)
    answer = await shared.begin(ASKED[asked](shared.device))
    await asyncio.wait_for(shared.reads.answered.wait(), 20)
    await answer.end("new")
    await asyncio.wait_for(shared.ended.wait(), 20)
    shared.reads.arrive()
    await expect(shared.tab.said.last).to_have_text("new")
    await shared.is_right()


@pytest.mark.parametrize("number", [1, 2])
async def test_an_edit_after_an_edit_is_shown_whichever_read_of_the_first_is_late(
    shared: Shared, number: int
) -> None:
    shared.reads.hold(number)
    first = await shared.begin(shared.device.send("A2", parent_id=None))
    await asyncio.wait_for(shared.reads.answered.wait(), 20)
    await first.end("a2")
    second = await shared.begin(shared.device.send("A3", parent_id=None))
    await second.end("a3")
    shared.reads.arrive()
    await expect(shared.tab.said).to_have_text(["a3"])
    await shared.is_right()


async def test_an_answer_that_fails_while_the_page_reads_is_told(shared: Shared) -> None:
    shared.reads.hold(shared.own_read)
    answer = await shared.begin(shared.device.send("B"))
    await asyncio.wait_for(shared.reads.answered.wait(), 20)
    answer.call.close()
    await read_events(answer.response)
    await asyncio.wait_for(shared.ended.wait(), 20)
    shared.reads.arrive()
    await expect(shared.tab.answers.last).to_contain_text("broke off")
    await expect(shared.tab.asked).to_have_text(["A", "B"])
    await expect(shared.tab.button("Try again")).to_be_visible()


async def test_a_late_read_undoes_nothing_that_came_after_it(shared: Shared) -> None:
    tab, device = shared.tab, shared.device
    call = await tab.ask("B", "b")
    await expect(tab.said.last).to_have_text("b")
    shared.reads.hold()  # the one after the answer
    call.finish()
    await asyncio.wait_for(shared.reads.answered.wait(), 20)
    question = (await device.get())["messages"][2]["id"]
    assert (await device.take_back(question)).status == 204
    await asyncio.wait_for(shared.reads.overtaken.wait(), 20)
    shared.reads.arrive()
    await expect(tab.asked).to_have_text(["A"])
    await shared.is_right()


async def test_a_late_list_undoes_nothing_that_came_after_it(shared: Shared) -> None:
    page, listed = shared.tab.page, Reads()
    await page.route("**/api/conversations?limit=50", listed.handle)
    listed.hold()
    await page.evaluate("dispatchEvent(new Event('online'))")
    await asyncio.wait_for(listed.answered.wait(), 20)
    assert (await shared.device.change(title="Masala")).status == 200
    await expect(shared.title).to_have_text("Masala")
    async with page.expect_event("requestfinished", lambda request: "limit=50" in request.url):
        listed.arrive()
    await expect(shared.tab.row("Masala")).to_be_visible()
    await shared.is_right()


async def test_messages_that_wait_have_their_turns_while_the_page_reads(shared: Shared) -> None:
    shared.reads.hold(shared.own_read)
    first = await shared.begin(shared.device.send("B"))
    await asyncio.wait_for(shared.reads.answered.wait(), 20)
    assert (await shared.device.send("C", when_running="queue")).status == 202
    await first.end("b")
    call = await shared.tab.model.call()
    call.finish("c")
    await asyncio.wait_for(shared.ended.wait(), 20)
    shared.reads.arrive()
    await expect(shared.tab.said).to_have_text(["a", "b", "c"])
    await shared.is_right()


@pytest.mark.parametrize("failures", [1, 2])
async def test_what_is_told_while_reads_fail_is_shown_later(
    shared: Shared, console: Console, failures: int
) -> None:
    console.allow("status of 503")
    shared.reads.failures = failures
    await (await shared.begin(shared.device.send("A2", parent_id=None))).end("a2")
    await expect(shared.tab.said).to_have_text(["a2"])
    await shared.is_right()
    shared.reads.failures = failures
    assert (await shared.device.change(title="Masala")).status == 200
    await expect(shared.title).to_have_text("Masala")
    assert shared.reads.failures == 0
    await (await shared.begin(shared.device.send("B"))).end("b")  # it still follows
    await expect(shared.tab.said).to_have_text(["a2", "b"])


async def test_a_conversation_far_down_the_list_is_followed(shared: Shared) -> None:
    for _ in range(20):
        await open_chat(shared.device.client, shared.device.user)
    assert (await shared.device.change(title="Masala")).status == 200
    await expect(shared.title).to_have_text("Masala")
    [question, _] = (await shared.device.get())["messages"]
    assert (await shared.device.take_back(question["id"])).status == 204
    await expect(shared.tab.asked).to_have_count(0)


async def test_a_deletion_elsewhere_is_told(shared: Shared, console: Console) -> None:
    console.allow("status of 404")
    await shared.tab.prompt.fill("a draft")
    assert (await shared.device.client.delete(shared.device.path, headers=shared.device.user)).status == 204
    await expect(shared.tab.page.get_by_text("This conversation no longer exists.").first).to_be_visible()
    await expect(shared.tab.rows).to_have_count(0)
    await expect(shared.tab.prompt).to_have_value("a draft")
    shared.tab.model.say = ["New."]
    await shared.tab.prompt.press("Enter")
    await expect(shared.tab.said).to_have_text(["New."])


@pytest.mark.parametrize("reader_transport", ["sse"], indirect=True)
async def test_a_question_that_is_refused_is_in_the_message_box_if_another_came_first(
    shared: Shared, console: Console
) -> None:
    console.allow("status of 500")
    tab = shared.tab
    asked, refused = asyncio.Event(), asyncio.Event()

    async def refuse(route: Route) -> None:
        asked.set()
        await refused.wait()
        await route.fulfill(
            status=500, body='{"detail": "Not now.", "code": "busy"}', content_type="application/json"
        )

    await tab.page.route("**/messages", refuse)
    await tab.send("mine")
    await asyncio.wait_for(asked.wait(), 20)
    await (await shared.begin(shared.device.send("B"))).end("b")
    refused.set()
    await expect(tab.prompt).to_have_value("mine")
    await shared.is_right()
