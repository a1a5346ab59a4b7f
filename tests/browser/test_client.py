"""The client's answers over either transport: sent, regenerated, stopped, left, followed."""

import asyncio
import json

import pytest
from playwright.async_api import BrowserContext

from tests.browser.answers import begin, is_whole, tokens_of
from tests.browser.conftest import Served
from tests.browser.embedded import Embedded, Seen
from tests.browser.site import Site
from tests.support.wire import HttpWire

pytestmark = pytest.mark.parametrize("transport", ["sse", "ws"])


async def test_tokens_come_one_by_one(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport)
    for number, token in enumerate(["Hel", "lo ", "wörld 🌍"], 1):
        call.say(token)
        events = await answer.events(1 + number)
        assert events[-1]["token"] == token
        assert events[-1]["gpu"] == 0
    call.finish("!")
    events = await answer.events()
    assert [event["type"] for event in events] == ["start", *["token"] * 4, "done"]
    assert is_whole(events)
    assert {event["conversation_id"] for event in events} == {conversation}
    assert len({event["generation_id"] for event in events}) == 1
    assert await answer.text() == "Hello wörld 🌍!"
    assert await answer.done() == events[-1]
    assert await embedded.messages(conversation) == [("user", "Hi"), ("assistant", "Hello wörld 🌍!")]


async def test_the_transport_is_the_one_that_was_asked_for(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    await begin(embedded, service, transport)
    assert wire.upgrades_asked == (transport == "ws")
    assert await embedded.page.evaluate("chat.transport") == transport


async def test_huge_text_in_many_scripts_arrives_wherever_chunks_end(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    wire.piece = 7
    tokens = [
        "नमस्ते ",
        "👩‍👩‍👧‍👦",
        "\r\n\r\n",
        "data: x\n\n",
        "\u2028\u0085",
        "𝒳é" * 50,
        json.dumps("é\n"),
    ] * 5
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    answer = await embedded.send(conversation, "é" * 8000)
    (await service.model.call()).finish(*tokens)
    assert is_whole(await answer.events())
    assert await answer.text() == "".join(tokens)


async def test_options_reach_the_model(embedded: Embedded, service: Served, transport: str) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    await embedded.send(conversation, temperature=0.3, max_tokens=7, top_k=5)
    request = (await service.model.call()).request
    assert (request["temperature"], request["max_tokens"], request["top_k"]) == (0.3, 7, 5)


async def test_two_conversations_are_answered_at_the_same_time(
    embedded: Embedded, service: Served, transport: str
) -> None:
    _, first, first_call = await begin(embedded, service, transport, "a")
    second = await embedded.send(await embedded.conversation())
    second_call = await service.model.call()
    second_call.finish("x", "y")
    first_call.finish("b")
    assert tokens_of(await first.events()) == ["a", "b"]
    assert tokens_of(await second.events()) == ["x", "y"]


async def test_stop_keeps_what_came(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "So ", "far")
    stopped = await embedded.page.evaluate("(id) => chat.stop(id)", conversation)
    assert stopped == {"generation_id": (await answer.events())[0]["generation_id"], "stopped": True}
    assert (await answer.events())[-1]["finish_reason"] == "stopped"
    assert is_whole(await answer.events())
    await asyncio.wait_for(call.closed.wait(), 5)
    again = await embedded.page.evaluate("(id) => chat.stop(id)", conversation)
    assert again == {"generation_id": None, "stopped": False}


async def test_regenerate_replaces_the_answer(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "Bad")
    call.finish()
    await answer.events()
    again = await embedded.read("regenerate", conversation)
    (await service.model.call()).finish("Good")
    assert is_whole(await again.events())
    assert await again.text() == "Good"
    assert await embedded.messages(conversation) == [("user", "Hi"), ("assistant", "Good")]


async def test_failed_model_ends_the_answer_and_does_not_throw(
    embedded: Embedded, service: Served, transport: str
) -> None:
    _, answer, call = await begin(embedded, service, transport, "Half")
    call.cut()
    events = await answer.events()
    assert [event["type"] for event in events] == ["start", "token", "error", "done"]
    assert events[2]["error"] == "inference_interrupted"
    assert await answer.error() is None


async def test_leaving_is_not_stopping(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    await answer.leave()
    assert len(await answer.events()) == 2
    assert await answer.done() is None
    call.finish("b")
    attached = await embedded.read("attach", conversation, {"after": await answer.last_event_id()})
    assert tokens_of(await attached.events()) == ["b"]


async def test_slow_consumer_gets_every_event(embedded: Embedded, service: Served, transport: str) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    service.model.say = [f"{number} " for number in range(2000)]
    seen = await embedded.page.evaluate(
        """async (id) => {
            const answer = chat.send(id, "Hi");
            await answer.done;
            const seen = [];
            for await (const event of answer) {
                seen.push(event);
                if (seen.length % 200 === 0) await new Promise((go) => setTimeout(go, 10));
            }
            return seen;
        }""",
        conversation,
    )
    assert is_whole(seen)
    assert tokens_of(seen) == service.model.say


async def test_two_read_one_answer(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    other = await embedded.read("attach", conversation)
    await other.events(2)
    call.finish("b")
    assert await other.events() == await answer.events()


async def test_attaching_where_nothing_runs_ends_at_once(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport)
    call.finish("x")
    await answer.events()
    attached = await embedded.read("attach", conversation)
    assert await attached.events() == []
    assert await attached.done() is None
    assert await attached.error() is None


async def test_reload_in_mid_answer_continues_where_it_was(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a", "b")
    before = await answer.events(3)
    last, text = await answer.last_event_id(), await answer.text()
    await embedded.page.reload()
    call.say("c")
    await embedded.begin(transport)
    going_on = await embedded.read("attach", conversation, {"after": last, "text": text})
    await going_on.events(1)
    call.finish("d")
    assert is_whole(before + await going_on.events())
    assert await going_on.text() == "abcd"


async def test_reload_that_kept_nothing_gets_the_answer_from_its_first_event(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a", "b")
    before = await answer.events(3)
    await embedded.page.reload()
    await embedded.begin(transport)
    shown = await embedded.get(conversation)
    call.finish("c")  # between the page's loading and its attaching
    attached = await embedded.read("attach", conversation, {"generation": shown["generation"]})
    events = await attached.events()
    assert is_whole(events)
    assert events[:3] == before
    assert await attached.text() == "abc"


async def test_another_tab_sees_answers_live(
    embedded: Embedded, service: Served, context: BrowserContext, site: Site, wire: HttpWire, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    page = await context.new_page()
    await page.goto(site.url)
    other = Embedded(page, wire.address, embedded.token)
    await other.begin(transport)
    await other.follow(conversation)
    running = await other.followed(0)
    await running.events(2)
    call.say("b")
    assert tokens_of(await running.events(3)) == ["a", "b"]
    call.finish("c")
    assert await running.events() == await answer.events()
    later = await embedded.send(conversation, "And?")
    call = await service.model.call()
    followed = await other.followed(1)
    call.say("d")
    await followed.events(2)
    call.finish("e")
    assert await followed.events() == await later.events()
    assert await embedded.record("followed") == []


async def test_who_stays_is_not_told_of_its_own_answers(
    embedded: Embedded, service: Served, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    await embedded.follow(conversation)
    for number in range(3):
        answer = await embedded.send(conversation, str(number))
        call = await service.model.call()
        await answer.events(1)
        call.finish("x")
        assert is_whole(await answer.events())
    await asyncio.sleep(2.5)  # one more look, without a WebSocket
    assert await embedded.record("followed") == []


async def test_staying_right_after_sending_loses_nothing(
    embedded: Embedded, service: Served, transport: str
) -> None:
    """A second subscription on the socket would end the first one, with events that it hasn't sent yet."""
    sent: list[str] = []
    embedded.page.on(
        "websocket",
        lambda socket: socket.on("framesent", lambda text: sent.append(json.loads(text)["type"])),
    )
    service.model.say = [f"{number} " for number in range(300)]
    await embedded.begin(transport)
    for _ in range(3):
        conversation = await embedded.conversation()
        answer = Seen(
            embedded.page,
            await embedded.page.evaluate(
                "(id) => { const number = read(chat.send(id, 'Hi')); stay(id); return number; }", conversation
            ),
        )
        assert is_whole(await answer.events())
    assert await embedded.record("followed") == []
    assert sent == ([] if transport == "sse" else ["auth", *["send"] * 3])


async def test_leaving_a_conversation_ends_the_stay(
    embedded: Embedded, service: Served, transport: str
) -> None:
    await embedded.begin(transport)
    await embedded.follow(await embedded.conversation())
    await embedded.page.evaluate("following.leave()")
    await embedded.reported("followed", None)


async def test_closing_the_client_leaves_everything(
    embedded: Embedded, service: Served, wire: HttpWire, transport: str
) -> None:
    conversation, answer, _ = await begin(embedded, service, transport, "a")
    await embedded.follow(conversation)
    await embedded.page.evaluate("chat.close()")
    assert len(await answer.events()) == 2
    await embedded.reported("followed", None)


async def test_page_that_attaches_and_stays_sees_each_answer_once(
    embedded: Embedded, service: Served, context: BrowserContext, site: Site, wire: HttpWire, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    page = await context.new_page()
    await page.goto(site.url)
    other = Embedded(page, wire.address, embedded.token)
    await other.begin(transport)
    shown = await other.get(conversation)
    attached = await other.read("attach", conversation, {"generation": shown["generation"]})
    await page.evaluate("([id, conversation]) => stay(id, { conversation })", [conversation, shown])
    call.finish("b")
    assert await attached.events() == await answer.events()
    later = await embedded.send(conversation, "And?")
    (await service.model.call()).finish("c")
    followed = await other.followed(0)
    assert (await followed.events())[-1]["type"] == "done"
    assert await followed.text() == await later.text() == "c"  # as one reset, if no look came in between
    assert len(await other.record("followed")) == 1


async def test_attaching_after_the_last_event_ends_at_once(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    call.finish()
    await answer.events()
    attached = await embedded.read("attach", conversation, {"after": await answer.last_event_id()})
    assert await attached.events() == []
    assert await attached.done() is None
    assert await attached.error() is None


async def test_attaching_after_an_answer_of_another_time_reads_the_one_that_runs(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    call.finish()
    await answer.events()
    last = await answer.last_event_id()
    running = await embedded.send(conversation)
    call = await service.model.call()
    call.say("b")
    await running.events(2)
    attached = await embedded.read("attach", conversation, {"after": last, "text": "a"})
    await attached.events(2)
    call.finish("c")
    assert await attached.events() == await running.events()
    assert await attached.text() == "bc"
