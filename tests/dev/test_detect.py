"""Detecting a model server's protocol by asking the server."""

from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer

from chat_api.dev.errors import DevError
from chat_api.dev.model.detect import detect


def answering(path: str, body: Any) -> web.Application:
    async def models(_: web.Request) -> web.Response:
        return web.json_response(body)

    application = web.Application()
    application.router.add_get(path, models)
    return application


async def test_nanochat_is_known_by_its_current_model(aiohttp_server: AiohttpServer) -> None:
    server = await aiohttp_server(answering("/models", {"current_model": "d20", "models": []}))
    base = str(server.make_url("/")).rstrip("/")
    assert await detect(f"{base}/") == (base, "nanochat")


async def test_chat_web_is_known_by_its_gpus(aiohttp_server: AiohttpServer) -> None:
    server = await aiohttp_server(answering("/health", {"status": "ok", "ready": True, "num_gpus": 1}))
    base = str(server.make_url("/")).rstrip("/")
    assert await detect(f"{base}/") == (base, "chat_web")


async def test_openai_is_known_by_its_list_of_models(aiohttp_server: AiohttpServer) -> None:
    server = await aiohttp_server(answering("/v1/models", {"object": "list", "data": []}))
    base = str(server.make_url("/")).rstrip("/")
    assert await detect(base) == (f"{base}/v1", "openai")


async def test_a_path_that_ends_in_v1_is_not_asked() -> None:
    assert await detect("http://127.0.0.1:1/api/v1/") == ("http://127.0.0.1:1/api/v1", "openai")


async def test_a_modal_address_is_nanochat() -> None:
    assert await detect("https://x--y.modal.run") == ("https://x--y.modal.run", "nanochat")


@pytest.mark.parametrize("body", [[], "text", {"models": []}, None])
async def test_a_server_of_another_kind_is_one_sentence(aiohttp_server: AiohttpServer, body: Any) -> None:
    server = await aiohttp_server(answering("/models", body))
    with pytest.raises(DevError, match="check --inference-url"):
        await detect(str(server.make_url("/")))


async def test_a_page_of_html_is_one_sentence(aiohttp_server: AiohttpServer) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>", content_type="text/html")

    application = web.Application()
    application.router.add_get("/models", page)
    server = await aiohttp_server(application)
    with pytest.raises(DevError, match="check --inference-url"):
        await detect(str(server.make_url("/")))


async def test_where_nobody_listens_is_one_sentence(unused_tcp_port: int) -> None:
    with pytest.raises(DevError, match="start it, or give another URL"):
        await detect(f"http://127.0.0.1:{unused_tcp_port}")


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://host/v1", "http:///v1", "http://[::1/v1"])
async def test_what_is_no_url_is_one_sentence(url: str) -> None:
    with pytest.raises(DevError, match="isn't a URL"):
        await detect(url)
