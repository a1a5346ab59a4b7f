"""The client over both transports: edits, versions, answers that go on, forks, settings, waiting messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Route

from tests.browser.answers import is_whole, tokens_of
from tests.browser.conftest import Console, Served
from tests.browser.embedded import Embedded, Seen
from tests.browser.site import Site
from tests.support.chat import until
from tests.support.wire import HttpWire

# The next frame of a WebSocket, because a browser masks what it sends there.
NEXT = {"sse": b"POST /api/conversations/", "ws": b""}

pytestmark = pytest.mark.parametrize("transport", ["sse", "ws"])


@pytest.fixture(autouse=True)
def refusals(console: Console) -> None:
    """Browsers log them."""
    console.allow("status of 4(00|04|09|12)")


async def answered(seen: Seen, service: Served, *tokens: str) -> None:
    """Let the model answer, and read it."""
    (await service.model.call()).finish(*tokens)
    assert is_whole(await seen.events())


async def begun(embedded: Embedded, service: Served, transport: str) -> tuple[str, list[dict[str, Any]]]:
    """A conversation with two questions and their answers: A, a, B, b."""
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    for question in ("A", "B"):
        await answered(await embedded.send(conversation, question), service, question.lower())
    return conversation, (await embedded.get(conversation))["messages"]


async def path(embedded: Embedded, conversation: str) -> list[str]:
    """The texts that are shown."""
    return [content for _, content in await embedded.messages(conversation)]


async def change(embedded: Embedded, method: str, *given: Any) -> Any:
    """Call a method of `chat.conversations`: its result, or its ChatError as a dict."""
    return await embedded.page.evaluate(
        "([method, given]) => chat.conversations[method](...given)"
        ".catch(({ code, status }) => ({ code, status }))",
        [method, list(given)],
    )


async def wait_for_turn(embedded: Embedded, conversation: str, content: str) -> dict[str, Any]:
    """Send a message that has to wait: the message as the client has it."""
    seen = await embedded.send(conversation, content, when_running="queue")
    assert await seen.events() == []
    assert await seen.error() is None
    assert await seen.done() is None
    what = "(number) => record.answers[number].answer.queued"
    queued: dict[str, Any] = await embedded.page.evaluate(what, seen.number)
    assert queued["content"] == content
    return queued


async def another_page(embedded: Embedded, context: BrowserContext, site: Site, transport: str) -> Embedded:
    """The client in another tab."""
    page = await context.new_page()
    await page.goto(site.url)
    other = Embedded(page, embedded.base_url, embedded.token)
    await other.begin(transport)
    return other


async def watch(embedded: Embedded, conversation: str) -> None:
    """Follow a conversation, and note the changes that are told."""
    await embedded.page.evaluate(
        """async (id) => {
            window.changes = [];
            const conversation = await chat.conversations.get(id);
            stay(id, { conversation, onChange: (now) => changes.push(now) });
        }""",
        conversation,
    )


async def test_an_edit_stands_beside_the_question(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, messages = await begun(embedded, service, transport)
    await answered(
        await embedded.send(conversation, "B2 é🌍", parentId=messages[2]["parent_id"]), service, "b2"
    )
    shown = (await embedded.get(conversation))["messages"]
    assert [each["content"] for each in shown] == ["A", "a", "B2 é🌍", "b2"]
    assert shown[2]["siblings"] == {"index": 1, "ids": [messages[2]["id"], shown[2]["id"]]}
    changed = await change(embedded, "switchTo", conversation, messages[2]["id"])
    assert changed["id"] == conversation
    assert await path(embedded, conversation) == ["A", "a", "B", "b"]
    await answered(await embedded.send(conversation, "A2", parentId=None), service, "a2")
    assert await path(embedded, conversation) == ["A2", "a2"]


async def test_an_edit_over_a_bad_network_is_stored_once(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    conversation, messages = await begun(embedded, service, transport)
    wire.lose_reply_to = NEXT[transport]
    answer = await embedded.send(conversation, "B2", parentId=messages[2]["parent_id"])
    await answered(answer, service, "b2")
    assert wire.cuts == 1
    shown = (await embedded.get(conversation))["messages"]
    assert [each["content"] for each in shown] == ["A", "a", "B2", "b2"]
    assert len(shown[2]["siblings"]["ids"]) == 2


async def test_any_answer_is_done_again(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, messages = await begun(embedded, service, transport)
    await answered(
        await embedded.read("regenerate", conversation, {"messageId": messages[1]["id"]}), service, "a2"
    )
    assert await path(embedded, conversation) == ["A", "a2"]
    await answered(await embedded.read("regenerate", conversation), service, "a3")
    shown = (await embedded.get(conversation))["messages"]
    assert shown[1]["siblings"]["index"] == 2
    assert shown[1]["siblings"]["ids"][0] == messages[1]["id"]


async def test_an_answer_goes_on(embedded: Embedded, service: Served, transport: str) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    answer = await embedded.send(conversation, "Count")
    (await service.model.call()).say("one ")
    await answer.events(2)
    await embedded.page.evaluate("(id) => chat.stop(id)", conversation)
    done = (await answer.events())[-1]
    rest = await embedded.read("goOn", conversation, {"messageId": done["message_id"]})
    call = await service.model.call()
    assert tokens_of(await rest.events(2)) == ["one "]
    call.finish("two")
    assert is_whole(await rest.events())
    assert await rest.text() == "one two"
    assert await path(embedded, conversation) == ["Count", "one two"]
    refused = await embedded.read("goOn", conversation)
    error = await refused.error()
    assert error is not None
    assert (error["status"], error["code"]) == (400, "nothing_to_continue")


async def test_a_message_is_taken_back_and_a_conversation_is_forked(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, messages = await begun(embedded, service, transport)
    fork = await change(embedded, "fork", conversation, messages[1]["id"])
    assert fork["id"] != conversation
    assert await path(embedded, fork["id"]) == ["A", "a"]
    assert await change(embedded, "takeBack", conversation, messages[2]["id"]) is None
    assert await path(embedded, conversation) == ["A", "a"]
    for method in ("takeBack", "fork", "switchTo"):
        refused = await change(embedded, method, conversation, messages[2]["id"])
        assert refused == {"code": "message_not_found", "status": 404}


async def test_nothing_else_is_changed_while_an_answer_is_written(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, messages = await begun(embedded, service, transport)
    await answered(await embedded.read("regenerate", conversation), service, "b2")
    answer = await embedded.send(conversation, "C")
    call = await service.model.call()
    await answer.events(1)
    for method, message in (("takeBack", messages[0]), ("switchTo", messages[3])):
        refused = await change(embedded, method, conversation, message["id"])
        assert refused == {"code": "generation_running", "status": 409}
    call.finish("c")
    assert is_whole(await answer.events())


async def test_settings_of_another_version_are_not_overwritten(
    embedded: Embedded, service: Served, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    version = (await embedded.get(conversation))["version"]
    fields = {"instructions": "Short.", "options": {"temperature": 0.1}, "model_tag": "m2", "title": "T"}
    changed = await change(embedded, "update", conversation, {**fields, "version": version})
    assert {name: changed[name] for name in fields} == fields
    assert changed["version"] == version + 1
    refused = await change(embedded, "update", conversation, {"title": "U", "version": version})
    assert refused == {"code": "conversation_changed", "status": 412}
    assert (await change(embedded, "update", conversation, {"instructions": "", "options": {}}))[
        "options"
    ] is None
    await embedded.send(conversation, "Hi")
    assert (await service.model.call()).request["messages"][-1]["content"] == "Hi"


async def test_a_message_waits_and_is_followed_when_its_turn_comes(
    embedded: Embedded, service: Served, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    await embedded.follow(conversation)
    answer = await embedded.send(conversation, "A", when_running="queue")
    call = await service.model.call()
    call.say("a ")
    assert tokens_of(await answer.events(2)) == ["a "]
    queued = await wait_for_turn(embedded, conversation, "B")
    assert (await embedded.get(conversation))["queued"] == [queued]
    assert await embedded.page.evaluate("(n) => record.answers[n].answer.queued", answer.number) is None
    call.finish("whole")
    assert is_whole(await answer.events())
    (await service.model.call()).finish("b")
    followed = await embedded.followed(0)
    events = await followed.events()
    assert events[-1]["type"] == "done"
    assert await followed.text() == "b"
    assert (await embedded.get(conversation))["queued"] == []
    assert (await embedded.get(conversation))["messages"][2]["id"] == queued["id"]


async def test_a_waiting_message_is_taken_back_and_all_of_them_are_cleared(
    embedded: Embedded, service: Served, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    answer = await embedded.send(conversation, "A")
    (await service.model.call()).say("a ")
    await answer.events(2)
    for text in ("B", "C", "D"):
        await wait_for_turn(embedded, conversation, text)
    queued = (await embedded.get(conversation))["queued"]
    assert [each["content"] for each in queued] == ["B", "C", "D"]
    assert await change(embedded, "takeBack", conversation, queued[1]["id"]) is None
    assert [each["content"] for each in (await embedded.get(conversation))["queued"]] == ["B", "D"]
    stopped = await embedded.page.evaluate("(id) => chat.stop(id, { queue: 'clear' })", conversation)
    assert stopped["stopped"] is True
    assert (await answer.events())[-1]["finish_reason"] == "stopped"
    assert (await embedded.get(conversation))["queued"] == []
    assert await path(embedded, conversation) == ["A", "a "]


async def test_a_message_that_waits_is_stored_once_if_its_reply_is_lost(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    answer = await embedded.send(conversation, "A")
    call = await service.model.call()
    call.say("a ")
    await answer.events(2)
    wire.lose_reply_to = NEXT[transport]
    queued = await wait_for_turn(embedded, conversation, "B")
    assert (await embedded.get(conversation))["queued"] == [queued]
    call.finish("whole")
    assert is_whole(await answer.events())
    (await service.model.call()).finish("b")
    await until(lambda: has(embedded, conversation, ["A", "a whole", "B", "b"]))


async def has(embedded: Embedded, conversation: str, texts: list[str]) -> bool:
    return await path(embedded, conversation) == texts


async def test_a_follower_is_told_of_another_version_and_gets_no_old_answer_again(
    embedded: Embedded, service: Served, context: BrowserContext, site: Site, transport: str
) -> None:
    conversation, messages = await begun(embedded, service, transport)
    await answered(
        await embedded.read("regenerate", conversation, {"messageId": messages[1]["id"]}), service, "a2"
    )
    other = await another_page(embedded, context, site, transport)
    await watch(other, conversation)
    await other.page.wait_for_timeout(300)  # its first look
    await change(embedded, "switchTo", conversation, messages[1]["id"])
    await other.page.wait_for_function("changes.length > 0")
    now = await other.page.evaluate("changes.at(-1)")
    assert [each["content"] for each in now["messages"]] == ["A", "a", "B", "b"]
    await change(embedded, "update", conversation, {"title": "Chai"})
    await other.page.wait_for_function("changes.at(-1).title === 'Chai'")
    assert await other.record("followed") == []
    answer = await embedded.send(conversation, "C")
    call = await service.model.call()
    call.say("c ")
    await (await other.followed(0)).events(2)
    await wait_for_turn(embedded, conversation, "D")
    await other.page.wait_for_function("changes.at(-1).queued.length === 1")
    call.finish("whole")
    await answer.events()
    (await service.model.call()).finish("d")
    await (await other.followed(1)).events()
    assert await other.page.evaluate("record.followed.length") == 2


async def test_a_look_that_arrives_after_the_end_of_an_answer_does_not_give_it_again(
    embedded: Embedded, service: Served, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    await watch(embedded, conversation)
    looked, arrives = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        response = await route.fetch()
        looked.set()
        await arrives.wait()
        await route.fulfill(response=response)

    answer = await embedded.send(conversation, "A")
    call = await service.model.call()
    call.say("a ")
    await answer.events(2)
    await embedded.page.route(f"**/api/conversations/{conversation}", hold, times=1)
    headers = {"Authorization": f"Bearer {embedded.token}"}
    path = f"/api/conversations/{conversation}"
    assert (await service.client.put(path, json={"title": "Chai"}, headers=headers)).status == 200
    await asyncio.wait_for(looked.wait(), 20)
    call.finish("whole")
    assert is_whole(await answer.events())
    arrives.set()
    await embedded.page.wait_for_function("changes.at(-1)?.title === 'Chai'")
    assert await embedded.page.evaluate("changes.at(-1).generation") is None
    assert await embedded.record("followed") == []
