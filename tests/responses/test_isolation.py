"""Nobody sees or touches another user's response, or learns that it exists."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from openai import AsyncOpenAI

from tests.conftest import Client
from tests.support.auth_service import AuthService
from tests.support.chat import until
from tests.support.model_server import ModelServer
from tests.support.queries import Connection, dump

Request = tuple[str, str, dict[str, Any]]

# Every path below /v1 with an id in it, and every body that names one.
REQUESTS: list[Request] = [
    ("GET", "/v1/responses/{response_id}", {}),
    ("GET", "/v1/responses/{response_id}", {"params": {"stream": "true"}}),
    ("GET", "/v1/responses/{response_id}", {"params": {"stream": "true", "starting_after": "1"}}),
    ("POST", "/v1/responses/{response_id}/cancel", {}),
    ("DELETE", "/v1/responses/{response_id}", {}),
    ("GET", "/v1/responses/{response_id}/input_items", {}),
    ("GET", "/v1/responses/{response_id}/input_items", {"params": {"after": "{item_id}"}}),
    ("POST", "/v1/responses", {"json": {"input": "Hi", "previous_response_id": "{response_id}"}}),
    ("POST", "/v1/responses", {"json": {"input": "Hi", "conversation": "{conversation_id}"}}),
    ("POST", "/v1/responses", {"json": {"input": "Hi", "conversation": "{conversation_id}", "model": "m2"}}),
    ("GET", "/v1/conversations/{conversation_id}", {}),
    ("POST", "/v1/conversations/{conversation_id}", {"json": {"metadata": {"stolen": "yes"}}}),
    ("DELETE", "/v1/conversations/{conversation_id}", {}),
    ("GET", "/v1/conversations/{conversation_id}/items", {}),
    ("GET", "/v1/conversations/{conversation_id}/items", {"params": {"after": "{item_id}"}}),
    (
        "POST",
        "/v1/conversations/{conversation_id}/items",
        {"json": {"items": [{"role": "user", "content": "Hi"}]}},
    ),
    ("GET", "/v1/conversations/{conversation_id}/items/{item_id}", {}),
    ("DELETE", "/v1/conversations/{conversation_id}/items/{item_id}", {}),
]


async def told(
    client: Client, user: dict[str, str], request: Request, ids: dict[str, str]
) -> tuple[int, Any]:
    """The status and the body."""
    text = orjson.dumps(request).decode()
    for name, given in ids.items():
        text = text.replace(f"{{{name}}}", given)
    method, path, given = orjson.loads(text)
    async with client.request(method, path, headers=user, **given) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_stranger_is_told_the_same_as_where_nothing_is_and_changes_nothing(
    sdk: AsyncOpenAI,
    client: Client,
    auth: AuthService,
    model: ModelServer,
    sql: Connection,
    is_running: bool,
) -> None:
    if not is_running:
        model.say = ["secret"]
    response = await sdk.responses.create(input="whisper", background=is_running)
    assert response.conversation is not None
    of = response.conversation.id
    item = (await sdk.conversations.items.list(of)).data[0]
    theirs = {"response_id": response.id, "conversation_id": of, "item_id": str(item.id)}
    nothing = {
        "response_id": f"resp_{uuid4().hex}{uuid4().hex}",
        "conversation_id": f"conv_{uuid4().hex}",
        "item_id": f"msg_{uuid4().hex}",
    }
    if is_running:
        await until(lambda: sql.fetchval("select count(*) from journal"))  # the tick has been
    before = await dump(sql)
    stranger = auth.sign_in()
    for request in REQUESTS:
        status, body = await told(client, stranger, request, theirs)
        assert (status, body) == await told(client, stranger, request, nothing), request
        assert status in (400, 404), request
    assert await dump(sql) == before
    assert len(model.requests) == 1
    if is_running:
        (await model.call()).finish("secret")


async def test_a_generation_is_not_found_through_a_conversation_of_ones_own(
    sdk: AsyncOpenAI, client: Client, auth: AuthService, model: ModelServer
) -> None:
    model.say = ["secret"]
    response = await sdk.responses.create(input="whisper")
    stranger = auth.sign_in()
    mine = await (await client.post("/v1/conversations", headers=stranger)).json()
    forged = f"resp_{mine['id'].removeprefix('conv_')}{response.id[-32:]}"
    assert UUID(response.id[-32:])
    for request in REQUESTS[:8]:
        status, _ = await told(client, stranger, request, {"response_id": forged, "item_id": "msg_1"})
        assert status in (400, 404), request


async def test_anothers_key_makes_a_conversation_of_ones_own(
    sdk: AsyncOpenAI, client: Client, auth: AuthService, model: ModelServer
) -> None:
    model.say = ["secret"]
    keyed = {"Idempotency-Key": "k"}
    response = await sdk.responses.create(input="whisper", extra_headers=keyed)
    stranger = {**auth.sign_in(), **keyed}
    mine = await client.post("/v1/responses", json={"input": "whisper"}, headers=stranger)
    assert (await mine.json())["conversation"] != response.to_dict()["conversation"]
    assert len(model.requests) == 2


async def test_every_address_with_an_id_is_asked_here(client: Client) -> None:
    assert client.app is not None
    found = {
        (route.method, route.resource.canonical)
        for route in client.app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/v1/")
    }
    asked = {(method, path) for method, path, _ in REQUESTS}
    known = {("POST", "/v1/conversations"), ("GET", "/v1/models"), ("GET", "/v1/models/{model}")}
    assert {pair for pair in found if pair[0] not in ("HEAD", "OPTIONS")} == asked | known
