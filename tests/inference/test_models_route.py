"""/api/models and /api/models/swap: the inference service's own response, or a clear error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientConnectionError, web
from aiohttp.test_utils import TestServer
from aioresponses import aioresponses

from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.interception import intercepted
from tests.support.model_server import ModelServer

Headers = dict[str, str]
URL = "http://inference:8000"
MODELS = {"current_model": "d20", "models": [{"tag": "d20", "größe": "🦜"}], "more": [1.0, None]}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"inference_service_url": URL})


@pytest.fixture
def inference() -> Iterator[aioresponses]:
    """The inference service; calls to loopback are real."""
    with intercepted() as server:
        yield server


@pytest.fixture
def admin(auth: AuthService) -> Headers:
    return auth.sign_in(is_admin=True)


async def test_the_models_are_passed_on_as_they_are(
    client: Client, user: Headers, auth: AuthService, inference: aioresponses
) -> None:
    inference.get(f"{URL}/models", payload=MODELS)
    response = await client.get("/api/models", headers=user)
    assert response.status == 200
    assert response.content_type == "application/json"
    assert await response.json() == MODELS
    (call,) = (calls[0] for (_, url), calls in inference.requests.items() if url.host == "inference")
    assert call.kwargs["headers"]["X-Internal-API-Key"] == auth.internal_key
    assert "Authorization" not in call.kwargs["headers"], "the user's token is nobody else's"


@pytest.mark.parametrize(("size", "status"), [(900_000, 200), (1_048_577, 502)])
async def test_a_long_list_is_read_to_its_end_and_an_endless_one_refused(
    start: Start, settings: Settings, user: Headers, size: int, status: int
) -> None:
    async def models(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        data = b'{"models":"' + b"x" * (size - 13) + b'"}'
        for place in range(0, size, 50_000):
            await response.write(data[place : place + 50_000])
        return response

    app = web.Application()
    app.router.add_get("/models", models)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        client: Client = await start(settings.model_copy(update={"inference_service_url": url}))
        response = await client.get("/api/models", headers=user)
        assert response.status == status
        assert status != 200 or len(await response.read()) == size


REFUSALS: list[tuple[dict[str, Any], int, str]] = [
    ({"exception": ClientConnectionError("10.0.0.7 refused")}, 503, "inference_unavailable"),
    ({"exception": TimeoutError()}, 503, "inference_unavailable"),
    ({"exception": OSError("no route to 10.0.0.7")}, 503, "inference_unavailable"),
    ({"status": 408}, 503, "inference_unavailable"),
    ({"status": 429}, 503, "inference_unavailable"),
    ({"status": 524}, 503, "inference_unavailable"),
    ({"status": 529}, 503, "inference_unavailable"),
    ({"status": 502, "body": "10.0.0.7"}, 503, "inference_unavailable"),
    ({"status": 503}, 503, "inference_unavailable"),
    ({"status": 504}, 503, "inference_unavailable"),
    ({"status": 500, "body": "Traceback 10.0.0.7"}, 502, "inference_error"),
    ({"status": 401}, 502, "inference_rejected"),
    ({"status": 403, "payload": {"detail": "wrong key for 10.0.0.7"}}, 502, "inference_rejected"),
    ({"body": ""}, 502, "inference_broken"),
    ({"body": "<html>10.0.0.7"}, 502, "inference_broken"),
    ({"body": b"\xff"}, 502, "inference_broken"),
    ({"payload": ["a list"]}, 502, "inference_broken"),
]


@pytest.mark.parametrize("swap", [False, True], ids=["models", "swap"])
@pytest.mark.parametrize(("reply", "status", "code"), REFUSALS)
async def test_a_broken_inference_service_is_told_without_its_words(
    client: Client,
    admin: Headers,
    inference: aioresponses,
    swap: bool,
    reply: dict[str, Any],
    status: int,
    code: str,
) -> None:
    inference.get(f"{URL}/models", **reply)
    inference.post(f"{URL}/models/swap", **reply)
    if swap:
        response = await client.post("/api/models/swap", headers=admin, json={"model_tag": "m"})
    else:
        response = await client.get("/api/models", headers=admin)
    assert response.status == status
    assert ("Retry-After" in response.headers) == (status == 503)
    body = await response.json()
    assert body["code"] == code
    assert "10.0.0.7" not in str(body)


@pytest.mark.parametrize("status", [307, 404])
async def test_models_that_are_not_there_are_the_inference_services_fault(
    client: Client, user: Headers, inference: aioresponses, status: int
) -> None:
    inference.get(f"{URL}/models", status=status, payload={}, headers={"Location": "http://elsewhere/"})
    response = await client.get("/api/models", headers=user)
    assert response.status == 502
    assert (await response.json())["code"] == "inference_rejected"


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, {"status": "ok", "current_model": "d20"}),
        (202, {"status": "ok", "current_model": "d20"}),
        (404, {"detail": "no such model: 🦜"}),
        (409, {"detail": "busy"}),
        (422, {"detail": [{"loc": ["body"]}]}),
    ],
)
async def test_a_swap_answers_as_the_inference_service_does(
    client: Client, admin: Headers, inference: aioresponses, status: int, answer: object
) -> None:
    inference.post(f"{URL}/models/swap", status=status, payload=answer)
    response = await client.post("/api/models/swap", headers=admin, json={"model_tag": "d20", "more": 1})
    assert (response.status, await response.json()) == (status, answer)
    (call,) = (calls[0] for (_, url), calls in inference.requests.items() if url.host == "inference")
    assert call.kwargs["json"] == {"model_tag": "d20"}


@pytest.mark.parametrize("body", [{}, {"model_tag": ""}, {"model_tag": "m" * 101}, {"model_tag": "\0"}])
async def test_a_swap_to_no_model_asks_nobody(
    client: Client, admin: Headers, inference: aioresponses, body: Headers
) -> None:
    response = await client.post("/api/models/swap", headers=admin, json=body)
    assert response.status == 422
    assert (await response.json())["detail"][0]["loc"] == ["body", "model_tag"]
    assert not any(url.host == "inference" for _, url in inference.requests)


@pytest.mark.parametrize("is_admin", [None, False])
async def test_a_swap_is_for_administrators(
    client: Client, auth: AuthService, inference: aioresponses, is_admin: bool | None
) -> None:
    for body in ({"model_tag": "m"}, {}, [1]):
        headers = auth.sign_in(is_admin=is_admin)
        response = await client.post("/api/models/swap", headers=headers, json=body)
        assert response.status == 403
        assert (await response.json())["code"] == "forbidden"
    assert not any(url.host == "inference" for _, url in inference.requests)


@pytest.fixture
async def openai(start: Start, settings: Settings, model: ModelServer) -> Client:
    update = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    started: Client = await start(settings.model_copy(update=update))
    return started


async def test_models_of_the_openai_protocol_have_the_same_shape(openai: Client, user: Headers) -> None:
    response = await openai.get("/api/models", headers=user)
    assert await response.json() == {
        "current_model": "tiny",
        "models": ["tiny"],
        "details": [
            {
                "tag": "tiny",
                "name": "tiny",
                "description": None,
                "context_tokens": None,
                "thinking": False,
                "available": True,
            }
        ],
    }


async def test_the_openai_protocol_knows_no_swap(openai: Client, admin: Headers) -> None:
    response = await openai.post("/api/models/swap", headers=admin, json={"model_tag": "m"})
    assert response.status == 501
    assert (await response.json())["code"] == "not_supported"


@pytest.mark.parametrize("payload", [{}, {"data": {}}, {"data": None}, []])
async def test_a_list_that_is_none_is_told(
    start: Start, settings: Settings, user: Headers, inference: aioresponses, payload: object
) -> None:
    inference.get(re.compile(".*/models"), payload=payload)
    client: Client = await start(settings.model_copy(update={"inference_protocol": "openai"}))
    response = await client.get("/api/models", headers=user)
    assert response.status == 502
    assert (await response.json())["code"] == "inference_broken"
