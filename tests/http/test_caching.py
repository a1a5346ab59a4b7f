"""Who may keep an answer: nobody, unless it says so."""

from __future__ import annotations

import pytest

from tests.conftest import Client
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer

LIST = "/api/conversations"


async def test_what_is_one_users_is_kept_nowhere(
    client: Client, auth: AuthService, user: dict[str, str], conversation: str, model: ModelServer
) -> None:
    model.say = ["a"]
    for method, path, body, status in [
        ("GET", LIST, None, 200),
        ("POST", LIST, {}, 201),
        ("GET", conversation, None, 200),
        ("PUT", conversation, {"title": "b"}, 200),
        ("PUT", conversation, {}, 422),
        ("POST", f"{conversation}/messages", {"content": "a", "stream": False}, 200),
        ("POST", f"{conversation}/stop", None, 200),
        ("GET", "/api/models", None, 200),
        ("GET", "/api/admin/users", None, 403),
        ("GET", "/nowhere", None, 404),
        ("PATCH", LIST, None, 405),
        ("GET", "/api/ready", None, 200),
        ("GET", "/api/ws", None, 426),
        ("DELETE", conversation, None, 204),
    ]:
        response = await client.request(method, path, headers=user, json=body)
        assert response.status == status, (method, path)
        assert response.headers.getall("Cache-Control") == ["no-store"], (method, path)
        assert response.headers.getall("X-Content-Type-Options") == ["nosniff"], (method, path)
    response = await client.get(LIST)
    assert (response.status, response.headers["Cache-Control"]) == (401, "no-store")


@pytest.mark.parametrize(
    ("path", "policy"),
    [
        ("/", "no-cache"),
        ("/web/client.js", "no-cache"),
        ("/api/openapi.json", "no-cache"),
    ],
)
async def test_what_is_everybodys_may_be_kept(client: Client, path: str, policy: str) -> None:
    response = await client.get(path)
    assert response.status == 200
    assert response.headers.getall("Cache-Control") == [policy]
    assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]


async def test_a_stream_is_as_the_contract_says(
    client: Client, user: dict[str, str], conversation: str, model: ModelServer
) -> None:
    model.say = ["a"]
    async with client.post(f"{conversation}/messages", json={"content": "a"}, headers=user) as stream:
        assert stream.headers.getall("Cache-Control") == ["no-cache"]
        assert stream.headers.getall("X-Content-Type-Options") == ["nosniff"]
