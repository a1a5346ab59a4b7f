"""The embedded client: on another site's page, in the documentation's examples, with the real local model."""

import asyncio
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.browser.answers import is_whole, tokens_of
from tests.browser.conftest import Console, Served
from tests.browser.embedded import Embedded
from tests.browser.site import Site
from tests.dev.dev_process import READY, DevProcess
from tests.support.processes import free_port


def example(checkout: Path, name: str = "docs/client.md") -> str:
    """The HTML file in a page's example."""
    [block] = re.findall(r"```html\n(.*?)```", (checkout / name).read_text(), re.DOTALL)
    return str(block)


async def test_the_readmes_twenty_lines_are_a_streaming_chat(
    page: Page, site: Site, service: Served, checkout: Path
) -> None:
    text = example(checkout, "README.md")
    assert len(text.splitlines()) <= 22
    assert "https://chat.example.org" in text
    site.pages["/chat.html"] = text.replace("https://chat.example.org", service.address)
    site.token = service.token()
    await page.goto(f"{site.url}/chat.html")
    box = page.get_by_role("textbox")
    for question, answer in [("Hi", "I am <i>here</i>"), ("And now?", "Still here")]:
        await expect(box).to_be_enabled()
        await box.fill(question)
        await box.press("Enter")
        call = await service.model.call()
        assert call.request["messages"][-1] == {"role": "user", "content": question}
        call.say(answer[:5])
        await expect(page.get_by_role("main")).to_have_text(answer[:5])
        call.finish(answer[5:])
        await expect(page.get_by_role("main")).to_have_text(answer)


async def test_plain_html_file_of_the_clients_page_is_a_streaming_chat(
    page: Page, site: Site, service: Served, checkout: Path
) -> None:
    text = example(checkout)
    assert "https://chat.example.org" in text
    site.pages["/chat.html"] = text.replace("https://chat.example.org", service.address)
    site.token = service.token()
    await page.goto(f"{site.url}/chat.html")
    await page.get_by_role("textbox").fill("Hi <b>there</b>")
    await page.get_by_role("textbox").press("Enter")
    call = await service.model.call()
    assert call.request["messages"] == [{"role": "user", "content": "Hi <b>there</b>"}]
    call.say("I am ")
    await expect(page.get_by_text("I am")).to_be_visible()
    call.finish("<i>here</i>")
    await expect(page.get_by_text("I am <i>here</i>")).to_be_visible()
    await expect(page.get_by_text("Hi <b>there</b>")).to_be_visible()


@pytest.mark.parametrize("garbage", ["<!doctype html>\n<h1>Not found</h1>", "garbage", ""])
async def test_the_pages_example_tells_that_there_is_no_token_and_keeps_the_text(
    page: Page, site: Site, service: Served, checkout: Path, console: Console, garbage: str
) -> None:
    console.allow("401")
    site.pages["/chat.html"] = example(checkout).replace("https://chat.example.org", service.address)
    site.token = garbage
    await page.goto(f"{site.url}/chat.html")
    box = page.get_by_role("textbox")
    await box.fill("My long question")
    await box.press("Enter")
    await expect(page.get_by_role("main")).to_have_text(re.compile("token|sign in", re.IGNORECASE))
    await expect(box).to_have_value("My long question")
    assert page.url == f"{site.url}/chat.html"
    site.token = service.token()
    await box.press("Enter")
    call = await service.model.call()
    assert call.request["messages"] == [{"role": "user", "content": "My long question"}]
    call.finish("An answer")
    await expect(page.get_by_text("An answer")).to_be_visible()
    await expect(page.get_by_text("My long question")).to_be_visible()
    await expect(box).to_have_value("")


async def test_the_pages_example_tells_that_the_service_or_its_model_is_away(
    page: Page, site: Site, service: Served, checkout: Path, console: Console
) -> None:
    console.allow("client.js")
    site.pages["/chat.html"] = example(checkout).replace("https://chat.example.org", service.address)
    site.token = service.token()
    await page.route("**/web/client.js", lambda route: route.abort())
    await page.goto(f"{site.url}/chat.html")
    box = page.get_by_role("textbox")
    await box.fill("My long question")
    await box.press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("client.js")
    await expect(box).to_have_value("My long question")
    await page.unroute("**/web/client.js")
    await box.press("Enter")
    call = await service.model.call()
    call.say("Half an ans")
    await expect(page.get_by_text("Half an ans")).to_be_visible()
    call.close()
    await expect(page.get_by_role("main").get_by_role("paragraph")).to_have_count(4)
    await expect(page.get_by_text("Half an ans")).to_be_visible()


async def test_what_the_network_lost_of_the_client_is_loaded_by_the_next_import(
    page: Page, site: Site, service: Served, console: Console
) -> None:
    console.allow("client/socket.js")
    await page.goto(site.url)
    load = "(address) => import(`${address}/web/client.js`).then(() => 'loaded', () => 'failed')"
    await page.route("**/web/client/socket.js", lambda route: route.abort())
    assert await page.evaluate(load, service.address) == "failed"
    await page.unroute("**/web/client/socket.js")
    assert await page.evaluate(load, service.address) == "loaded"


async def test_module_knows_the_service_that_it_came_from(page: Page, site: Site, service: Served) -> None:
    await page.goto(site.url)
    listed = await page.evaluate(
        """async ([address, token]) => {
            const { ChatClient } = await import(`${address}/web/client.js`);
            return new ChatClient({ token }).conversations.list();
        }""",
        [service.address, service.token()],
    )
    assert listed["items"] == []


@pytest.mark.parametrize("base_url", ["{}", "{}/", "//{}"])
async def test_base_url_may_end_with_a_slash_or_not(embedded: Embedded, base_url: str) -> None:
    address = embedded.base_url
    embedded.base_url = base_url.format(address.removeprefix("http://") if "//" in base_url else address)
    await embedded.begin()
    assert await embedded.conversation()


async def test_all_of_a_conversations_life(embedded: Embedded) -> None:
    await embedded.begin()
    made = await embedded.call("chat.conversations.create({ title: 'Tëst 🌍', model_tag: 'm2' })")
    assert (made["title"], made["model_tag"], made["is_favorited"]) == ("Tëst 🌍", "m2", False)
    changed = await embedded.call(f"chat.conversations.update('{made['id']}', {{ is_favorited: true }})")
    assert changed["is_favorited"] is True
    other = await embedded.conversation()
    first = await embedded.call("chat.conversations.list({ limit: 1 })")
    assert len(first["items"]) == 1
    rest = await embedded.call(f"chat.conversations.list({{ cursor: '{first['next_cursor']}' }})")
    assert {each["id"] for each in first["items"] + rest["items"]} == {made["id"], other}
    assert await embedded.call(f"chat.conversations.delete('{other}')") is None
    listed = await embedded.call("chat.models.list()")
    assert (listed["current_model"], listed["models"]) == ("m1", ["m1", "m2"])
    assert [each["tag"] for each in listed["details"]] == ["m1", "m2"]


async def test_lines_end_as_the_standard_allows(page: Page, site: Site) -> None:
    await page.goto(site.url)
    stream = ": x\r\nid: a:1\r\ndata: 1\r\n\r\nid:a:2\rdata:2\r\ndata: 2\r\rdata\n\nid: a:3\ndata:  3\n\n"
    for size in (1, 2, 3, 1000):
        events = await page.evaluate(
            """async ([stream, size]) => {
                const { EventParser } = await import("/web/client.js");
                const parser = new EventParser();
                const events = [];
                for (let at = 0; at < stream.length; at += size) {
                    events.push(...parser.push(stream.slice(at, at + size)));
                }
                return events;
            }""",
            [stream, size],
        )
        assert [(event["id"], event["data"]) for event in events] == [
            ("a:1", "1"),
            ("a:2", "2\n2"),
            ("a:2", ""),
            ("a:3", " 3"),
        ], size


async def test_event_that_comes_twice_is_shown_once_and_one_that_is_missing_is_noticed(
    page: Page, site: Site
) -> None:
    await page.goto(site.url)
    text, seen, error = await page.evaluate(
        """async () => {
            const { Answer } = await import("/web/client.js");
            const answer = new Answer("c");
            const token = (seq, token) => ({ type: "token", generation_id: "g", seq, token });
            const taken = [
                answer.take({ type: "start", generation_id: "g", seq: 0 }),
                answer.take(token(1, "a")), answer.take(token(1, "a")), answer.take(token(2, "b")),
                answer.take({ type: "start", generation_id: "g", seq: 0 }), answer.take(token(1, "a")),
            ];
            try {
                answer.take(token(4, "d"));
            } catch ({ code }) {
                return [answer.text, taken, code];
            }
        }"""
    )
    assert text == "ab"
    assert seen == [True, True, False, True, False, False]
    assert error == "network_error"


async def test_declared_types_name_what_there_is(page: Page, site: Site, checkout: Path) -> None:
    await page.goto(site.url)
    declared = (checkout / "chat_api" / "web" / "client.d.ts").read_text()
    for name, body in re.findall(r"export class (\w+)[^{]*\{\n(.*?)\n\}", declared, re.DOTALL):
        members = set(re.findall(r"^  (?:readonly )?(\w+)[(:?]", body, re.MULTILINE)) - {"constructor"}
        missing = await page.evaluate(
            """async ([name, members]) => {
                const client = await import("/web/client.js");
                const one = new client[name](...(name === "ChatClient" ? [] : ["id", { messages: [] }]));
                return members.filter((member) => !(member in one));
            }""",
            [name, sorted(members)],
        )
        assert members
        assert missing == [], name


@pytest.mark.parametrize("transport", ["sse", "ws"])
async def test_the_real_local_model_is_streamed(
    page: Page, console: Console, tmp_path: Path, transport: str
) -> None:
    console.allow("favicon.ico")
    port = str(free_port())
    async with DevProcess(tmp_path, "--port", port) as stack:
        await stack.until(READY)
        await page.goto(f"http://127.0.0.1:{port}/")
        async with asyncio.timeout(60):
            events, times, text, stored = await page.evaluate(
                """async ([token, transport]) => {
                    const { ChatClient } = await import("/web/client.js");
                    const chat = new ChatClient({ token, transport });
                    const { id } = await chat.conversations.create();
                    const options = { max_tokens: 40, temperature: 0 };
                    const answer = chat.send(id, "Count from one to ten.", options);
                    const events = [], times = [];
                    for await (const event of answer) {
                        events.push(event);
                        times.push(performance.now());
                    }
                    const { messages } = await chat.conversations.get(id);
                    return [events, times, answer.text, messages.at(-1)];
                }""",
                [stack.token, transport],
            )
    assert is_whole(events)
    assert 5 < len(tokens_of(events)) <= 41
    assert times[-1] - times[1] > 50  # they didn't arrive all at once
    assert stored["content"] == text == "".join(tokens_of(events))
