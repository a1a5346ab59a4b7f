"""The client: thinking and tool calls, over either transport."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, Route, WebSocketRoute

from chat_api.settings import Settings
from tests.browser.answers import begin, is_whole
from tests.browser.conftest import Console, Served
from tests.browser.embedded import Embedded, Seen
from tests.browser.openai import begin_call, end, go_on, say, speaking_openai, think
from tests.browser.site import Site
from tests.support.model_server import Call, ModelServer

pytestmark = pytest.mark.parametrize("transport", ["sse", "ws"])

TOOLS = [{"type": "function", "function": {"name": "weather"}}]
WEATHER = {"id": "call_1", "name": "weather", "arguments": '{"city":"Pune"}'}
RESULT = {"tool_call_id": "call_1", "content": "rain"}
RAIN = [{"token": "It rains."}]
AGAIN = [{"tool_call": {"index": 0, **WEATHER, "id": "call_2"}}]


class Results:
    """Answers `tool_results` in the service's place with scripted answers, and keeps what was sent."""

    def __init__(self, *answers: list[dict[str, Any]]) -> None:
        self.sent: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self._answers = list(answers)

    async def listen(self, page: Page) -> None:
        """Stand between this page and the service."""
        await page.route("**/tool_results", self._post)
        await page.route_web_socket("**/api/ws", self._connect)

    def _next(self) -> tuple[str, list[dict[str, Any]]]:
        answer = self._answers.pop(0)
        generation_id = f"g{len(self._answers)}"
        reason = "tool_calls" if "tool_call" in answer[-1] else "stop"
        done = {"done": True, "message_id": None, "finish_reason": reason, "token_count": 1, "usage": None}
        start = {"generation_id": generation_id, "conversation_id": "c", "user_message_id": "u"}
        return generation_id, [start, *answer, done]

    async def _post(self, route: Route) -> None:
        body = json.loads(route.request.post_data or "")
        self.sent.append(body)
        self.keys.append(route.request.headers["idempotency-key"])
        generation_id, events = self._next()
        text = "".join(
            f"id: {generation_id}:{seq}\ndata: {json.dumps(data)}\n\n" for seq, data in enumerate(events)
        )
        headers = {"Access-Control-Allow-Origin": "*", "Content-Type": "text/event-stream"}
        await route.fulfill(body=text, headers=headers)

    async def _connect(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()

        def hear(message: str | bytes) -> None:
            frame = json.loads(message)
            if frame["type"] == "tool_results":
                self._answer(socket, frame)
            else:
                server.send(message)

        socket.on_message(hear)

    def _answer(self, socket: WebSocketRoute, frame: dict[str, Any]) -> None:
        conversation_id, ref = frame.pop("conversation_id"), frame.pop("ref")
        assert frame.pop("type") == "tool_results"
        self.keys.append(frame.pop("idempotency_key"))
        self.sent.append(frame)
        generation_id, events = self._next()
        socket.send(json.dumps({"type": "ack", "ref": ref, "generation_id": generation_id}))
        for seq, data in enumerate(events):
            first = next(iter(data))
            kind = "start" if first == "generation_id" else first
            more = {"conversation_id": conversation_id, "generation_id": generation_id, "seq": seq}
            socket.send(json.dumps({"type": kind, **data, **more}))


@pytest.fixture
def settings(settings: Settings, model: ModelServer) -> Settings:
    return speaking_openai(settings, model)


async def ask(
    embedded: Embedded, transport: str, run: str, options: dict[str, Any] | None = None, method: str = "send"
) -> Seen:
    """Send a question, with a function that runs tools; `handed` records what it is given."""
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    number = await embedded.page.evaluate(
        f"""([id, options]) => {{
            window.handed = [];
            const run = {run};
            const onToolCalls = (calls, answer) => {{
                handed.push([calls, answer.ended]);
                return run(calls);
            }};
            return read(chat.send(id, "Weather?", {{ ...options, onToolCalls }}));
        }}""",
        [conversation, options or {}],
    )
    return Seen(embedded.page, number)


async def following(seen: Seen) -> Seen | None:
    """The answer to the results of an answer's tool calls."""
    number = await seen.page.evaluate(
        "(number) => record.answers[number].answer.next.then((next) => next && read(next))", seen.number
    )
    return None if number is None else Seen(seen.page, number)


def call_weather(call: Call) -> None:
    """Let the model call its tool, and end."""
    begin_call(call, 0, "call_1", "weather", '{"city":')
    go_on(call, 0, '"Pune"}')
    end(call, "tool_calls")


GIVE = "(calls) => calls.map(({ id }) => ({ tool_call_id: id, content: 'rain' }))"


async def test_thinking_and_calls_are_gathered(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport)
    think(call, "Let me ", "see")
    say(call, "One ", "moment.")
    begin_call(call, 0, "call_1", "weather", '{"city":')
    go_on(call, 0, '"Pune"}')
    begin_call(call, 1, "call_2", "time")
    end(call, "tool_calls")
    events = await answer.events()
    assert is_whole(events)
    assert [event["type"] for event in events[1:6]] == [
        "reasoning",
        "reasoning",
        "token",
        "token",
        "tool_call",
    ]
    assert await answer.text() == "One moment."
    calls = [WEATHER, {"id": "call_2", "name": "time", "arguments": ""}]
    assert await answer.words() == ["Let me see", calls]
    stored = (await embedded.get(conversation))["messages"][-1]
    assert (stored["content"], stored["reasoning"], stored["tool_calls"]) == (
        "One moment.",
        "Let me see",
        calls,
    )


async def test_attaching_brings_thinking_and_calls_so_far(
    embedded: Embedded, service: Served, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport)
    think(call, "hm")
    begin_call(call, 0, "call_1", "weather", '{"city":')
    await answer.events(3)
    attached = await embedded.read("attach", conversation)
    await attached.events(3)  # else it could come after the end
    half = await embedded.read(
        "attach",
        conversation,
        {
            "after": await answer.last_event_id(),
            "text": "",
            "reasoning": "hm",
            "toolCalls": [{**WEATHER, "arguments": '{"city":'}],
        },
    )
    go_on(call, 0, '"Pune"}')
    end(call, "tool_calls")
    for each in (attached, half):
        await each.events()
        assert await each.words() == ["hm", [WEATHER]]


async def test_an_answer_from_elsewhere_brings_thinking_and_calls(
    embedded: Embedded, service: Served, context: BrowserContext, site: Site, transport: str
) -> None:
    conversation, answer, call = await begin(embedded, service, transport)
    say(call, "a")
    end(call)
    await answer.events()
    page = await context.new_page()
    await page.goto(site.url)
    other = Embedded(page, embedded.base_url, embedded.token)
    await other.begin(transport)
    shown = await other.get(conversation)
    await page.evaluate("([id, conversation]) => stay(id, { conversation })", [conversation, shown])
    await embedded.send(conversation, "Weather?")
    call = await service.model.call()
    think(call, "hm")
    call_weather(call)
    followed = await other.followed(0)
    await followed.events()
    assert await followed.words() == ["hm", [WEATHER]]  # as one reset, if no look came in between


async def test_complete_calls_are_handed_over_and_their_results_sent(
    embedded: Embedded, service: Served, transport: str
) -> None:
    results = Results(RAIN)
    await results.listen(embedded.page)
    options = {"tools": TOOLS, "tool_choice": "required", "temperature": 0.5, "idempotencyKey": "first"}
    first = await ask(embedded, transport, GIVE, options)
    call_weather(await service.model.call())
    await first.events()
    second = await following(first)
    assert second is not None
    assert await embedded.page.evaluate("handed") == [[[WEATHER], True]]
    await second.events()
    assert await second.text() == "It rains."
    # A choice that forces a call holds for one answer: else every answer would call again.
    assert results.sent == [{"results": [RESULT], "tools": TOOLS, "temperature": 0.5}]
    assert results.keys != ["first"]
    assert await following(second) is None


async def test_the_service_stores_results_and_answers_them(
    embedded: Embedded, service: Served, transport: str
) -> None:
    options = {"tools": TOOLS, "tool_choice": "required", "temperature": 0.5}
    first = await ask(embedded, transport, GIVE, options)
    call_weather(await service.model.call())
    events = await first.events()
    second = await following(first)
    assert second is not None
    call = await service.model.call()
    assert [message["role"] for message in call.request["messages"]] == ["user", "assistant", "tool"]
    assert call.request["messages"][-1] == {"role": "tool", **RESULT}
    assert (call.request["tools"], call.request["temperature"]) == (TOOLS, 0.5)
    assert "tool_choice" not in call.request
    say(call, "It rains.")
    end(call)
    assert is_whole(await second.events())
    assert await second.text() == "It rains."
    assert await following(second) is None
    conversation = events[0]["conversation_id"]
    stored = [(each["role"], each["content"]) for each in (await embedded.get(conversation))["messages"]]
    assert stored == [("user", "Weather?"), ("assistant", ""), ("tool", "rain"), ("assistant", "It rains.")]
    again = await embedded.read("sendResults", conversation, [RESULT])
    await again.events()
    assert await again.text() == "It rains."


async def test_a_function_may_take_its_time_and_calls_may_follow_calls(
    embedded: Embedded, service: Served, transport: str
) -> None:
    results = Results(AGAIN, RAIN)
    await results.listen(embedded.page)
    slow = f"async (calls) => {{ await new Promise((go) => setTimeout(go)); return ({GIVE})(calls); }}"
    first = await ask(embedded, transport, slow)
    call_weather(await service.model.call())
    await first.events()
    second = await following(first)
    assert second is not None
    third = await following(second)
    assert third is not None
    await third.events()
    assert await third.text() == "It rains."
    assert [sent["results"][0]["tool_call_id"] for sent in results.sent] == ["call_1", "call_2"]
    assert len(set(results.keys)) == 2


@pytest.mark.parametrize("nothing", ["null", "undefined"])
async def test_calls_stay_open_without_results(
    embedded: Embedded, service: Served, transport: str, nothing: str
) -> None:
    results = Results()
    await results.listen(embedded.page)
    answer = await ask(embedded, transport, f"() => {nothing}")
    call_weather(await service.model.call())
    assert await following(answer) is None
    assert results.sent == []


async def test_what_the_function_throws_reaches_who_waits_for_the_next_answer(
    embedded: Embedded, service: Served, transport: str
) -> None:
    answer = await ask(embedded, transport, "() => { throw new RangeError('no such city') }")
    # Waits before the model calls: the page reports a rejection for which nobody waits yet.
    await embedded.page.evaluate(
        "(number) => { window.caught = record.answers[number].answer.next"
        ".catch(({ name, message }) => [name, message]); }",
        answer.number,
    )
    call_weather(await service.model.call())
    assert await embedded.page.evaluate("caught") == ["RangeError", "no such city"]
    assert await answer.error() is None


@pytest.mark.parametrize("reason", ["stop", "length"])
async def test_calls_of_an_answer_that_doesnt_wait_for_them_are_not_run(
    embedded: Embedded, service: Served, transport: str, reason: str
) -> None:
    answer = await ask(embedded, transport, GIVE)
    call = await service.model.call()
    say(call, "Hello.")
    end(call, reason)
    assert await following(answer) is None
    assert await embedded.page.evaluate("handed") == []


async def test_a_refused_question_has_no_next_answer(
    embedded: Embedded, console: Console, transport: str
) -> None:
    console.allow("status of 422")
    await embedded.begin(transport)
    answer = await embedded.send(await embedded.conversation(), "")
    error = await answer.error()
    assert error is not None
    assert error["code"] == "validation_failed"
    assert await following(answer) is None


async def test_the_options_of_a_question_are_sent(
    embedded: Embedded, service: Served, transport: str
) -> None:
    results = Results(RAIN)
    await results.listen(embedded.page)
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    options = {
        "thinking_mode": True,
        "force_web_search": False,
        "tools": TOOLS,
        "tool_choice": "auto",
        "when_running": "supersede",
        "max_tokens": 5,
    }
    strange = {"conversation_id": "x", "type": "stop", "results": [], "idempotencyKey": "mine"}
    answer = await embedded.read("sendResults", conversation, [RESULT], {**options, **strange})
    assert [event["type"] for event in await answer.events()] == ["start", "token", "done"]
    assert results.sent == [{"results": [RESULT], **options}]
    assert results.keys == ["mine"]


async def test_the_example_in_the_documentation_works(
    embedded: Embedded, service: Served, transport: str, checkout: Path
) -> None:
    example = re.search(r"```js\n(.*?)```", (checkout / "docs" / "client.md").read_text(), re.DOTALL)
    assert example is not None
    results = Results(RAIN)
    await results.listen(embedded.page)
    await embedded.page.route("**/weather?city=Pune", lambda route: route.fulfill(body="rain"))
    await embedded.begin(transport)
    await embedded.page.evaluate(
        """([code, id]) => {
            const program = new (async () => {}).constructor("conversation", "output", code);
            window.output = {};
            window.running = program({ id }, output);
        }""",
        [example[1], await embedded.conversation()],
    )
    call = await service.model.call()
    call_weather(call)
    assert await embedded.page.evaluate("running.then(() => output.textContent)") == "It rains."
    assert results.sent[0]["results"] == [RESULT]
