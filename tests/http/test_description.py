"""The API's description of itself is complete, valid and true, for programs and for people."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel
from yarl import URL

from chat_api import bodies, errors, events
from chat_api.app import create_app
from chat_api.description import event_schemas as described
from chat_api.description.declare import declared
from chat_api.description.problems import all_errors
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client
from tests.support.model_server import ModelServer
from tests.support.tab import open_tab

Document = dict[str, Any]
DRAFT = jsonschema.Draft202012Validator


@pytest.fixture
async def openapi(client: Client) -> Document:
    """As served, without a token."""
    response = await client.get("/api/openapi.json")
    assert (response.status, response.content_type) == (200, "application/json")
    document: Document = await response.json()
    return document


@pytest.fixture
async def asyncapi(client: Client) -> Document:
    """As served, without a token."""
    response = await client.get("/api/asyncapi.json")
    assert (response.status, response.content_type) == (200, "application/json")
    document: Document = await response.json()
    return document


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """The (method, path, operation) of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def holds(value: Any, schema: Any, document: Document) -> None:
    """Check that a value matches a schema of the document."""
    whole = {"components": document["components"], "allOf": [schema]}
    DRAFT(whole, format_checker=DRAFT.FORMAT_CHECKER).validate(value)


async def test_openapi_is_valid(openapi: Document) -> None:
    OpenAPIV31SpecValidator(openapi).validate()


async def test_asyncapi_is_valid(asyncapi: Document, checkout: Path) -> None:
    schema = json.loads((checkout / "tests" / "support" / "fixtures" / "asyncapi" / "3.0.0.json").read_text())
    jsonschema.Draft7Validator(schema).validate(asyncapi)


async def test_every_route_of_the_api_is_described(openapi: Document, settings: Settings) -> None:
    routes = {
        (route.method, route.resource.canonical)
        for route in create_app(settings).router.routes()
        if route.resource is not None and route.method not in ("HEAD", "OPTIONS")
    }
    api = {route for route in routes if route[1].startswith(("/api/", "/v1/")) or route[1] == "/metrics"}
    assert {(method, path) for method, path, _ in operations(openapi)} == api


async def test_an_operation_says_what_it_does_and_everything_that_can_come_back(openapi: Document) -> None:
    names = [operation["operationId"] for _, _, operation in operations(openapi)]
    assert len(set(names)) == len(names)
    for method, path, operation in operations(openapi):
        name = f"{method} {path}"
        assert operation["summary"], name
        assert set(operation["tags"]) <= {tag["name"] for tag in openapi["tags"]}, name
        assert all(each["description"] for each in operation["parameters"]), name
        wanted = {"500"}
        if operation.get("security") != []:
            wanted |= {"401", "502", "503"}
        if "{id}" in path:
            wanted.add("404")
        if "requestBody" in operation:
            wanted |= {"400", "413", "415"} | (set() if path.startswith("/v1/") else {"422"})
        assert wanted <= set(operation["responses"]), name
        for status, response in operation["responses"].items():
            assert response["description"], (name, status)
            assert response["headers"]["X-Trace-Id"]["required"], (name, status)
            problem = re.fullmatch(r"4\d\d|5\d\d", status) and path != "/api/ready"
            assert not problem or "examples" in response["content"]["application/json"], (name, status)


async def test_what_wants_no_token_says_so(openapi: Document, client: Client) -> None:
    for method, path, operation in operations(openapi):
        named = re.sub("{[^}]+}", lambda name: "docs.css" if name[0] == "{name}" else str(uuid4()), path)
        response = await client.request(method, named)
        assert (response.status == 401) == (operation.get("security") != []), f"{method} {path}"


async def test_an_unknown_address_is_answered_as_the_description_says(
    openapi: Document, client: Client, user: dict[str, str]
) -> None:
    said = " ".join(openapi["info"]["description"].split())
    assert "401 (`unauthorized`) without a token and 404 (`not_found`) with one" in said
    for headers, status, code in (({}, 401, "unauthorized"), (user, 404, "not_found")):
        response = await client.get("/api/elsewhere", headers=headers)
        assert (response.status, (await response.json())["code"]) == (status, code)


async def test_only_what_opens_something_is_called_so(openapi: Document) -> None:
    summaries = {(method, path): each["summary"] for method, path, each in operations(openapi)}
    assert summaries["POST", "/api/conversations"] == "Create a conversation"
    assert [path for (_, path), summary in summaries.items() if summary.startswith("Open ")] == ["/api/ws"]


# Not of operations: socket commands, other methods, what isn't a request, a kind that only has subkinds.
ELSEWHERE = {"rate_limited", "too_many_subscriptions", "method_not_allowed", "unavailable"}
ELSEWHERE |= {"not_http", "headers_too_large"}


async def test_every_code_appears(openapi: Document, asyncapi: Document) -> None:
    codes = {kind.code for kind in all_errors()}
    found = set(re.findall(r'"code": ?"([a-z_]+)"', json.dumps(openapi)))
    assert found - {"invalid_value"} == codes - ELSEWHERE  # that one is OpenAI's word
    assert set(asyncapi["components"]["schemas"]["RefusalFrame"]["properties"]["code"]["enum"]) == codes
    assert errors.GenerationRunning.sentence in json.dumps(openapi)


async def test_every_example_holds(openapi: Document, asyncapi: Document) -> None:
    seen = 0
    for _, path, operation in operations(openapi):
        media = [*operation.get("requestBody", {}).get("content", {}).values()]
        for response in operation["responses"].values():
            media += response.get("content", {}).values()
        for each in media:
            examples = [example["value"] for example in each.get("examples", {}).values()]
            for value in [*examples, *([each["example"]] if "example" in each else [])]:
                holds(value, each["schema"], openapi)
                seen += 1
        for parameter in operation["parameters"]:
            if "example" in parameter:
                holds(parameter["example"], parameter["schema"], openapi)
        assert path
    for message in asyncapi["components"]["messages"].values():
        for example in message["examples"]:
            holds(example["payload"], message["payload"], asyncapi)
            seen += 1
    assert seen > 100


async def test_a_document_that_is_known_is_not_sent_again(client: Client) -> None:
    for path in ("/api/openapi.json", "/api/asyncapi.json", "/api/docs", "/api/docs/docs.css"):
        first = await client.get(path)
        assert first.status == 200
        again = await client.get(path, headers={"If-None-Match": f'"other", {first.headers["ETag"]}'})
        assert (again.status, await again.read()) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert (await client.get(path, headers={"If-None-Match": '"other"'})).status == 200


async def test_every_schema_is_referred_to(openapi: Document, asyncapi: Document) -> None:
    for document, alone in ((openapi, set()), (asyncapi, {"Command"})):  # the commands as one type
        text = json.dumps(document)
        names = document["components"]["schemas"]
        assert {name for name in names if f'"#/components/schemas/{name}"' not in text} == alone


def same_keys(data: Document, model: type[BaseModel], *, without: frozenset[str] = frozenset()) -> None:
    """Whether data has the model's fields `without` some, each of its type, and no others."""
    assert set(data) == set(model.model_fields) - without
    model.model_validate_json(orjson.dumps(data), strict=True)


UNTIMED = frozenset({"retry_after"})  # what a failure lacks if the model server names no time


def test_events_are_those_described() -> None:
    ids = uuid4(), uuid4(), uuid4()
    for data, model in (
        (events.start(*ids, {"sent": 1, "left_out": 0}), described.Start),
        (events.token("a", {}), described.Token),
        (events.reasoning("a", {}), described.Reasoning),
        (events.tool_call(0, "c1", "f", "{"), described.ToolCallPiece),
        (events.reset("a"), described.Reset),
        (events.reset("", "b", [{"id": "c1", "name": "f", "arguments": "{}"}]), described.Reset),
        (events.done(None, "stop", 1, 2), described.Done),
        (events.done(ids[0], "error", 1, 2), described.Done),
        (events.done(ids[0], "tool_calls", 1, 2, {"prompt_tokens": 3}), described.Done),
    ):
        same_keys(orjson.loads(data), model)
    same_keys(orjson.loads(events.error(errors.InferenceError())), described.Failure, without=UNTIMED)
    busy = errors.InferenceUnavailable()
    busy.retry_after = 42  # as the model server names it
    same_keys(orjson.loads(events.error(busy)), described.Failure)
    names = {"failure": "error", "toolcallpiece": "tool_call"}
    kinds = {names.get(name, name) for name in (model.__name__.lower() for model in described.DATA)}
    assert kinds == {kind.decode() for kind in events.KINDS.values()}


async def test_frames_are_those_described(
    client: Client, user: dict[str, str], chat: Chat, model: ModelServer
) -> None:
    conversation = chat.path.rpartition("/")[2]
    model.refuse = (500, "out of order")
    async with open_tab(client) as tab:
        same_keys(
            await tab.ask("auth", token=user["Authorization"].removeprefix("Bearer ")), described.ReadyFrame
        )
        ack = await tab.ask("send", conversation, content="hi")
        same_keys(ack, described.AckFrame, without=frozenset({"stopped"}))
        frames = await tab.events()
        model.refuse, model.say = None, ["a"]
        await tab.ask("send", conversation, content="hi")
        frames += await tab.events()
        ack = await tab.ask("stop", conversation)
        same_keys(ack, described.AckFrame, without=frozenset({"user_message_id"}))
    kinds: dict[str, type[BaseModel]] = {
        "start": described.StartFrame,
        "token": described.TokenFrame,
        "error": described.FailureFrame,
        "done": described.DoneFrame,
    }
    assert {frame["type"] for frame in frames} == set(kinds)
    for frame in frames:
        frame.pop("gpu", None)
        same_keys(frame, kinds[frame["type"]], without=UNTIMED if frame["type"] == "error" else frozenset())


async def test_answers_are_those_described(chat: Chat, model: ModelServer) -> None:
    async def ask(method: str, path: str, described: type[BaseModel]) -> None:
        async with chat.client.request(method, path, headers=chat.user) as response:
            same_keys(await response.json(), described)

    stream, _, _ = await chat.begin(model, "a")
    same_keys((await chat.get())["generation"], bodies.Generation)
    for method, path, described_as in (
        ("GET", chat.path, bodies.OpenConversation),
        ("POST", f"{chat.path}/stop", bodies.Stopped),
        ("GET", "/api/conversations", bodies.ConversationPage),
        ("POST", "/api/conversations", bodies.Conversation),
        ("GET", "/api/health", bodies.Health),
        ("GET", "/api/ready", bodies.Readiness),
        ("GET", "/api/models", bodies.Models),
    ):
        await ask(method, path, described_as)
    stream.close()
    model.say = ["b"]
    same_keys(await (await chat.send(stream=False)).json(), bodies.Exchange)


VENDOR = Path(__file__).parents[2] / "chat_api" / "description" / "page" / "vendor"


def test_the_vendored_files_are_those_that_were_looked_at() -> None:
    sums = dict(reversed(line.split("  ")) for line in (VENDOR / "SHA256SUMS.txt").read_text().splitlines())
    packages = json.loads((VENDOR / "vendor.json").read_text())
    listed = {name for package in packages.values() for name in package["files"].values()}
    assert {path.name for path in VENDOR.iterdir()} - {"README.md", "SHA256SUMS.txt", "vendor.json"} == listed
    assert {name: hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() for name in listed} == sums
    table = (VENDOR / "README.md").read_text()
    for package in packages.values():
        assert f"| {package['version']} | {package['licence']} |" in table
        assert all(f"-{package['version']}." in name for name in package["files"].values())


async def test_the_page_consists_of_its_own_files_and_allows_no_others(client: Client) -> None:
    page = await client.get("/api/docs")
    text = await page.text()
    assert (page.status, page.content_type) == (200, "text/html")
    for name in re.findall(r'(?:src|href|spec-url)="([^"]+)"', text):
        if not name.startswith("data:"):
            assert not re.match(r"/|\w+:", name), "relative, so that it works below any path"
            assert (await client.get(page.url.join(page.url.with_path(f"/api/{name}")).path)).status == 200, (
                name
            )
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|\sstyle=", text)
    policy = dict(each.split(" ", 1) for each in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert "https://" not in text
    for name in ("../index.html", "vendor.json", "..%2f..%2fapp.py", "nothing.js"):
        assert (await client.get(f"/api/docs/{name}")).status in (401, 404), name


async def test_below_a_path_all_of_it_is_the_same_and_there(start: Start, settings: Settings) -> None:
    client: Client = await start(settings.model_copy(update={"base_path": "/chat"}))
    document = await (await client.get("/chat/api/openapi.json")).json()
    assert "/api/conversations" in document["paths"]
    (server,) = document["servers"]
    assert client.make_url("/chat/api/openapi.json").join(URL(server["url"])).path.rstrip("/") == "/chat"
    assert (await client.get("/chat/api/docs")).status == 200
    assert (await client.get("/chat/api/docs/docs.js")).status == 200


def test_every_declaration_belongs_to_a_route(settings: Settings) -> None:
    api = settings.model_copy(update={"web_ui": "off"})  # the page's files aren't part of the API
    handlers = {route.handler for route in create_app(api).router.routes()}
    assert all(declared(handler) for handler in handlers if handler.__module__.startswith("chat_api.routes."))
