"""`chat-api models check`, as an operator runs it, against real servers."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from tests.support.model_server import ModelServer
from tests.support.picky_server import PickyServer
from tests.support.raw_server import RawServer
from tests.support.scripted import Scripted
from tests.support.service import environment

SECRET = "hunter2"
NOWHERE = "http://127.0.0.1:1/v1"


class Done(NamedTuple):
    """How a command ended, and what it wrote. `rows` are those of the table, by server and model."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> dict[tuple[str, str], list[str]]:
        heading, *lines = self.out.partition("\n\n")[0].splitlines()
        names = ("SERVER", "MODEL", "SERVED AS", "LISTED", "FIRST TOKEN", "RESULT")
        starts = [heading.index(name) for name in names]
        cut = [
            [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines
        ]
        return {(row[0], row[1]): row[2:] for row in cut}


Check = Callable[..., Awaitable[Done]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Run `chat-api models check` with a MODELS_FILE of this text, "" for none, and these variables."""

    async def check(text: str, *arguments: str, **variables: str) -> Done:
        path = tmp_path / "models.toml"
        path.write_text(text)
        given = {"MODELS_FILE": str(path)} if text else {}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "chat_api", "models", "check", *arguments,
            env=environment(None, **given, **variables), cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode is not None
        return Done(process.returncode, out.decode(), err.decode())

    return check


def server(name: str, url: str, more: str = "") -> str:
    return f'[servers.{name}]\nurl = "{url}"\n{more}\n'


def model(tag: str, *servers: str, more: str = "") -> str:
    return f"[models.{tag}]\nservers = {json.dumps(servers)}\n{more}\n"


async def test_all_is_fine(check: Check) -> None:
    async with PickyServer() as near, ModelServer() as nano:
        near.models = [{"id": "tiny"}, {"id": "big"}]
        nano.say = ["Hel", "lo"]
        nano.speaks = "nanochat"
        done = await check(
            server("near", f"{near.url}/v1")
            + server("nano", nano.url, 'protocol = "nanochat"')
            + model("default", "near", "nano", more='name = "Tiny"\nserved_as = { near = "tiny" }')
            + model(
                "big",
                "near",
                more='who = "admins"\n'
                'price = { currency = "EUR", prompt = 0.25, cached = 0.5, completion = 2 }',
            )
            + model("alias", "near")
        )
        assert near.lists == 1
        assert [each["model"] for each in near.requests] == ["tiny", "big", "alias"]
        assert all(each["max_tokens"] == 16 for each in near.requests)
    assert (done.status, done.err) == (0, "")
    rows = done.rows
    assert list(rows) == [("near", "default"), ("near", "big"), ("near", "alias"), ("nano", "default")]
    assert all(row[2].endswith(" ms") and row[3] == "fine" for row in rows.values())
    assert {key: row[:2] for key, row in rows.items()} == {
        ("near", "default"): ["tiny", "yes"],
        ("near", "big"): ["big", "yes"],
        ("near", "alias"): ["alias", "no"],
        ("nano", "default"): ["m1", "no list"],
    }
    assert done.out.partition("\n\n")[2].splitlines() == [
        "default (Tiny): for everybody, the default",
        "big: for admins; a million tokens: 0.25 (prompt), 0.5 (cached), 2 (completion) EUR",
        "alias: for everybody",
    ]


async def test_an_answer_is_stopped_at_its_first_token(check: Check) -> None:
    async with ModelServer() as endless:
        running = asyncio.ensure_future(check(server("a", f"{endless.url}/v1") + model("default", "a")))
        call = await endless.call()
        call.send({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        call.send({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm"}}]})
        done = await running
        await asyncio.wait_for(call.closed.wait(), 10)
    assert (done.status, done.rows["a", "default"][3]) == (0, "fine")


async def test_without_a_file_the_environments_server_is_checked(check: Check) -> None:
    async with PickyServer() as only:
        done = await check("", INFERENCE_PROTOCOL="openai", INFERENCE_SERVICE_URL=f"{only.url}/v1")
    assert (done.status, done.err) == (0, "")
    ((key, row),) = done.rows.items()
    assert (key, row[:2], row[3]) == (("inference", "default"), ["tiny", "yes"], "fine")


@pytest.mark.parametrize("url", [NOWHERE, "https://127.0.0.1:1/v1", "http://no..host/v1"])
async def test_a_server_that_is_down_is_told_beside_one_that_works(check: Check, url: str) -> None:
    async with PickyServer() as near:
        done = await check(
            server("near", f"{near.url}/v1") + server("down", url) + model("default", "near", "down")
        )
    assert (done.status, done.err) == (1, "")
    rows = done.rows
    assert rows["near", "default"][3] == "fine"
    assert rows["down", "-"][3].startswith("its list: It can't be reached: ")
    assert rows["down", "default"][1:3] == ["-", "-"]
    assert rows["down", "default"][3].startswith("It can't be reached: ")


@pytest.mark.parametrize("key", ["NEAR_KEY", None])
async def test_a_wrong_key_is_told_and_not_shown(check: Check, key: str | None) -> None:
    async with ModelServer() as strict:
        strict.speaks = "openai"
        strict.openai_models = (401, {})
        strict.refuse = (401, json.dumps({"error": {"message": f"Incorrect API key:\n\x1b[1m {SECRET}"}}))
        done = await check(
            server("near", f"{strict.url}/v1", f'key = "{key}"' if key else "")
            + model("default", "near", more='served_as = "tiny"'),
            NEAR_KEY=SECRET,
        )
        sent = strict.requests[0].headers
    assert sent.get("Authorization") == (f"Bearer {SECRET}" if key else None)
    assert done.status == 1
    what = "refuses the key" if key else "wants a key"
    said = "…" if key else SECRET
    assert done.rows["near", "-"][3] == f"its list: It {what} (HTTP 401)."
    assert done.rows["near", "default"][3] == f"It {what} (HTTP 401). It says: Incorrect API key: [1m {said}"


@pytest.mark.parametrize("status", [400, 404])
async def test_a_model_that_is_missing_is_told(check: Check, status: int) -> None:
    def refuse(asked: dict[str, Any]) -> tuple[int, Any] | None:
        error = {"code": "model_not_found", "message": "The model `big` does not exist"}
        return (status, {"error": error}) if asked["model"] == "big" else None

    async with PickyServer() as near:
        near.refuse = refuse
        done = await check(server("near", f"{near.url}/v1") + model("default", "near") + model("big", "near"))
    assert done.status == 1
    assert done.rows["near", "default"][3] == "fine"
    served_as, listed, took, result = done.rows["near", "big"]
    assert (served_as, listed, took) == ("big", "no", "-")
    assert result == 'The model "big" isn\'t available at the model server.'


async def test_a_server_that_hangs_costs_no_more_than_its_time_outs(check: Check) -> None:
    async with RawServer(then="be silent") as first, RawServer(then="be silent") as second:
        limits = "connect_timeout = 0.5\nfirst_token_timeout = 0.5"
        began = time.monotonic()
        done = await check(
            server("a", first.url, limits) + server("b", second.url, limits) + model("default", "a", "b")
            + model("other", "a", more='served_as = "x"')
        )  # fmt: skip
        took = time.monotonic() - began
    assert (
        took < 8
    )  # of two models, one after the other, at two servers at once; and the start of the command
    assert (done.status, done.err) == (1, "")
    assert done.rows["a", "-"][3] == "its list: It didn't answer in time."
    assert done.rows["a", "other"][3] == "Nothing came within 1 seconds."
    assert done.rows["b", "default"][3] in ("It didn't answer in time.", "Nothing came within 1 seconds.")


class Page(Scripted):
    """Answers everything with a web page, as a portal or a wrong address does."""

    def __init__(self) -> None:
        super().__init__()
        self.router.add_route("*", "/{path:.*}", self._page)

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text="<html>Welcome</html>", content_type="text/html")


async def test_garbage_is_told(check: Check) -> None:
    async with Page() as page, RawServer(b"SSH-2.0-OpenSSH_9.2\r\n") as ssh, PickyServer() as broken:
        broken.refuse = lambda _: (200, b"data: {not json\n\ndata: [1]\n\n")
        broken.models = [{"name": "tiny"}]
        done = await check(
            server("page", page.url) + server("ssh", ssh.url) + server("broken", f"{broken.url}/v1")
            + model("default", "page", "ssh", "broken", more='served_as = "tiny"')
        )  # fmt: skip
    assert (done.status, done.err) == (1, "")
    understood = "It sent something that this service doesn't understand"
    for each in ("page", "ssh", "broken"):
        assert done.rows[each, "default"][3].startswith(understood), each
        assert done.rows[each, "default"][2] == "-"
    assert done.rows["page", "-"][3].startswith(f"its list: {understood}")
    assert done.rows["broken", "default"][1] == "no"


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (429, {"error": {"message": "slow down"}}, "It has too much to do, or isn't ready (HTTP 429)."),
        (503, {"error": {"message": "Loading model"}}, "It has too much to do, or isn't ready (HTTP 503)."),
        (500, {"error": {"message": "no memory"}}, "It failed (HTTP 500). It says: no memory"),
        (402, {"error": {"message": "no credit"}}, "It refused the request (HTTP 402). It says: no credit"),
        (400, {"error": {"message": "no"}}, "It refused the request (HTTP 400). It says: no"),
        (200, b'data: {"error":{"code":500,"message":"no memory"}}\n\n', "It failed (HTTP 500). It says: no"),
        (200, b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n', "It broke off before a token came"),
        (
            200,
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
            "It ended its answer without saying anything.",
        ),
    ],
)
async def test_what_failed_is_told(check: Check, status: int, body: object, sentence: str) -> None:
    async with PickyServer() as near:
        near.refuse = lambda _: (status, body)
        done = await check(server("near", f"{near.url}/v1") + model("default", "near"))
    assert done.status == 1
    assert done.rows["near", "default"][3].startswith(sentence)


async def test_a_model_that_thinks_in_secret_is_fine(check: Check) -> None:
    async with PickyServer() as near:
        near.refuse = lambda _: (200, b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n')
        done = await check(server("near", f"{near.url}/v1") + model("default", "near"))
    assert (done.status, done.rows["near", "default"][3]) == (0, "fine")


async def test_parameters_that_are_refused_are_named_as_the_file_says_them(check: Check) -> None:
    def refuse(asked: dict[str, Any]) -> tuple[int, Any] | None:
        for name in ("max_tokens", "temperature"):
            if name in asked:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}
        return None

    async with PickyServer() as near:
        near.refuse = refuse
        done = await check(server("near", f"{near.url}/v1") + model("default", "near"))
        alone = await check("", INFERENCE_PROTOCOL="openai", INFERENCE_SERVICE_URL=f"{near.url}/v1")
    assert (done.status, alone.status) == (0, 0)
    assert done.rows["near", "default"][3] == (
        'fine, once asked with omit = ["temperature"] and max_tokens_field = "max_completion_tokens"'
    )
    assert alone.rows["inference", "default"][3] == (
        "fine, once asked with INFERENCE_OMIT=temperature and "
        "INFERENCE_MAX_TOKENS_FIELD=max_completion_tokens"
    )


async def test_another_protocol_is_named(check: Check) -> None:
    async with ModelServer() as nano:
        nano.speaks = "nanochat"
        done = await check(server("a", nano.url) + model("default", "a", more='served_as = "x"'))
    assert done.status == 1
    assert "It speaks the protocol nanochat." in done.rows["a", "default"][3]


@pytest.mark.parametrize("models", [(404, {}), (405, {})])
async def test_a_server_without_a_list_is_fine(check: Check, models: tuple[int, Any]) -> None:
    async with ModelServer() as azure:
        azure.openai_models = models
        azure.say = []
        azure.refuse = (200, 'data: {"choices":[{"index":0,"delta":{"content":"ok"}}]}\n\ndata: [DONE]\n\n')
        done = await check(server("a", f"{azure.url}/v1") + model("x", "a"))
    assert (done.status, done.rows["a", "x"][1]) == (0, "no list")


async def test_a_list_that_fails_fails_the_check(check: Check) -> None:
    async with PickyServer() as near:
        near.models = None
        done = await check(
            server("near", f"{near.url}/v1") + model("default", "near", more='served_as = "t"')
        )
    assert done.status == 1
    assert done.rows["near", "-"][3] == "its list: It failed (HTTP 500)."
    assert done.rows["near", "default"][3] == "fine"


async def test_a_server_that_no_model_names_is_asked_for_its_list(check: Check) -> None:
    async with PickyServer() as near, ModelServer() as web_chat:
        done = await check(
            server("near", f"{near.url}/v1") + server("spare", f"{near.url}/v1")
            + server("web", web_chat.url, 'protocol = "chat_web"') + model("default", "near")
        )  # fmt: skip
        assert near.lists >= 2
    assert done.status == 0
    assert done.rows["spare", "-"][3] == "fine, but no model names this server"
    assert ("web", "-") in done.rows


async def test_json_has_the_same(check: Check) -> None:
    async with PickyServer() as near:
        address = near.url.replace("http://", f"http://u:{SECRET}@")
        done = await check(
            server("near", f"{address}/v1?key={SECRET}") + server("down", NOWHERE)
            + model("default", "near", "down", more='served_as = { near = "tiny", down = "t" }\n'
            'price = { currency = "EUR", prompt = 1, completion = 2 }'),
            "--json",
        )  # fmt: skip
        where = f"{near.url}/v1"
    assert (done.status, done.err) == (1, "")
    assert SECRET not in done.out
    said = json.loads(done.out)
    fine, failed = said["checks"]
    assert isinstance(fine.pop("milliseconds"), int)
    assert fine == {
        "server": "near",
        "model": "default",
        "served_as": "tiny",
        "listed": True,
        "error": None,
        "refused": [],
    }
    assert (failed["milliseconds"], failed["listed"]) == (None, None)
    assert failed["error"].startswith("It can't be reached: ")
    assert said["ok"] is False
    assert said["servers"][0] == {
        "server": "near",
        "address": where,
        "protocol": "openai",
        "listed": ["tiny"],
        "error": None,
    }
    assert said["servers"][1]["error"].startswith("It can't be reached: ")
    assert said["models"] == [
        {
            "model": "default",
            "name": "default",
            "who": "everybody",
            "price": {"currency": "EUR", "prompt": 1.0, "cached": None, "completion": 2.0},
        }
    ]


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("[servers.a]\n", {}),
        (server("a", NOWHERE, 'key = "NO_SUCH_KEY"') + model("default", "a"), {}),
        ("", {"INFERENCE_SERVICE_URL": "nowhere"}),
        ("", {"MODELS_FILE": "/no/such/file.toml"}),
    ],
)
async def test_what_cannot_be_used_ends_with_two(check: Check, text: str, variables: dict[str, str]) -> None:
    done = await check(text, **variables)
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("chat-api: ")
    assert "Traceback" not in done.err
