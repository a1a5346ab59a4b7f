"""API keys sign programs in, with the scopes that they have, and are sent to nobody else."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import pytest

from chat_api.access.keys import KeyDoor, new_key
from chat_api.http.context import VERIFIER
from chat_api.settings import Settings
from chat_api.transports.websocket.commands import KINDS
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.chat import until
from tests.support.keys import key_of
from tests.support.model_server import ModelServer
from tests.support.queries import Connection
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab, token_of

USER = UUID("0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee")
LIST = "/api/conversations"


@pytest.fixture
async def client(start: Start, settings: Settings) -> Client:
    """The service, for tokens and keys."""
    started: Client = await start(settings.model_copy(update={"auth": "service,keys"}))
    return started


async def ask(client: Client, headers: dict[str, str], path: str = LIST, method: str = "GET") -> Any:
    async with client.request(method, path, headers=headers) as response:
        return response.status, (await response.json()).get("code")


async def test_a_key_signs_its_user_in(client: Client, sql: Connection, model: ModelServer) -> None:
    program = await key_of(sql, USER)
    async with client.post(LIST, headers=program) as response:
        made = await response.json()
    assert made["user_id"] == str(USER)
    async with client.post(
        f"{LIST}/{made['id']}/messages", json={"content": "Hi"}, headers=program
    ) as stream:
        (await model.call()).finish("so far")
        assert text_of(await read_events(stream)) == "so far"


@pytest.mark.parametrize("key", ["sck_", "sck_0", "sck_" + "0" * 40, "sck_" + "f" * 39, "sck_" + "G" * 40])
async def test_nobody_else_is_shown_a_key_be_it_good_or_not(
    client: Client, auth: AuthService, sql: Connection, key: str
) -> None:
    assert await ask(client, {"Authorization": f"Bearer {key}"}) == (401, "invalid_token")
    assert await ask(client, await key_of(sql)) == (200, None)
    assert auth.calls == []


async def test_a_token_is_not_looked_up_as_a_key(
    client: Client, auth: AuthService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise AssertionError("the key's door was asked")

    monkeypatch.setattr(KeyDoor, "ask", refuse)
    assert await ask(client, auth.sign_in()) == (200, None)


async def test_where_keys_are_off_they_sign_nobody_in(
    start: Start, settings: Settings, sql: Connection, auth: AuthService
) -> None:
    client = await start(settings)
    assert await ask(client, await key_of(sql)) == (401, "invalid_token")
    assert len(auth.calls) == 1, "by default, the auth service knows every token"


async def test_with_keys_alone_a_token_signs_nobody_in(
    start: Start, settings: Settings, sql: Connection, auth: AuthService
) -> None:
    client = await start(settings.model_copy(update={"auth": "keys"}))
    assert await ask(client, auth.sign_in()) == (401, "invalid_token")
    assert await ask(client, await key_of(sql)) == (200, None)
    assert auth.calls == []


@pytest.mark.parametrize(("days", "status"), [(-0.001, 401), (0.001, 200), (None, 200)])
async def test_an_expired_key_signs_nobody_in(
    client: Client, sql: Connection, days: float | None, status: int
) -> None:
    assert (await ask(client, await key_of(sql, days=days)))[0] == status


async def test_a_key_ends_on_time_though_it_is_still_remembered(client: Client, sql: Connection) -> None:
    program = await key_of(sql, days=60 / 86_400)
    principal = await client.app[VERIFIER].verify(token_of(program))  # type: ignore[index]
    expires_at = await sql.fetchval("select extract(epoch from expires_at)::float8 from api_keys")
    assert principal.expires_at == pytest.approx(expires_at, abs=0.001)
    assert not principal.is_provisional


@pytest.mark.parametrize("by_frame", [False, True])
async def test_a_socket_of_a_key_comes_back_so_that_a_revoked_one_ends(
    start: Start, settings: Settings, sql: Connection, by_frame: bool
) -> None:
    client = await start(settings.model_copy(update={"auth": "keys", "auth_cache_seconds": 1}))
    program = await key_of(sql)
    async with open_tab(client, **({"user": program} if by_frame else {"headers": program})) as tab:
        assert await tab.close_code() == 1001, "which every client takes for: connect again"
    await sql.execute("delete from api_keys")
    async with open_tab(client) as tab:
        await tab.say("auth", token=token_of(program))
        assert await tab.close_code() == 4401


@pytest.mark.parametrize(("setting", "seconds"), [(300, 60), (5, 5)])
async def test_a_key_is_believed_for_a_minute_at_most(
    start: Start, settings: Settings, sql: Connection, setting: float, seconds: float
) -> None:
    changes = {"auth": "keys", "auth_cache_seconds": setting}
    client = await start(settings.model_copy(update=changes))
    program = await key_of(sql)
    assert await ask(client, program) == (200, None)
    (handle,) = client.app[VERIFIER]._cache._handlers.values()
    left = handle.when() - asyncio.get_running_loop().time()
    assert seconds - 5 < left <= seconds
    await sql.execute("delete from api_keys")  # revoked
    assert await ask(client, program) == (200, None)
    await client.app[VERIFIER]._cache.clear()  # as the cache's timer does
    assert await ask(client, program) == (401, "invalid_token")


async def test_many_requests_at_once_look_once(
    client: Client, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    find = KeyDoor.ask

    async def counted(door: KeyDoor, token: str) -> Any:
        asked.append(token)
        return await find(door, token)

    monkeypatch.setattr(KeyDoor, "ask", counted)
    program = await key_of(sql)
    answers = await asyncio.gather(*(ask(client, program) for _ in range(20)))
    assert (set(answers), len(asked)) == ({(200, None)}, 1)


@pytest.mark.parametrize(
    ("used", "is_noted"),
    [(None, True), ("now() - interval '20 s'", False), ("now() - interval '51 s'", True)],
)
async def test_its_last_use_is_noted_about_once_a_minute(
    client: Client, sql: Connection, used: str | None, is_noted: bool
) -> None:
    program = await key_of(sql)
    await sql.execute(f"update api_keys set last_used_at = {used or 'null'}")
    before = await sql.fetchval("select last_used_at from api_keys")
    await ask(client, program)
    after = await sql.fetchval("select last_used_at from api_keys")
    assert (after != before) == is_noted
    assert await sql.fetchval("select now() - last_used_at < interval '60 s' from api_keys")


async def test_a_database_that_takes_no_writes_still_knows_its_keys(
    start: Start, settings: Settings, sql: Connection, database_url: str
) -> None:
    program = await key_of(sql)
    name = await sql.fetchval("select current_database()")
    await sql.execute(f"alter database {name} set default_transaction_read_only = on")
    client = await start(settings.model_copy(update={"auth": "keys"}))
    assert await ask(client, program) == (200, None)


async def test_a_database_that_is_away_is_503_and_not_a_bad_key(start: Start, settings: Settings) -> None:
    away = {"auth": "keys", "database_url": "postgresql://127.0.0.1:1/x"}
    client = await start(settings.model_copy(update=away))
    key = {"Authorization": f"Bearer {new_key()}"}
    assert await ask(client, key) == (503, "database_unavailable")


async def test_guessed_keys_count_as_failed_sign_ins(start: Start, settings: Settings) -> None:
    strict = {"auth": "keys", "sign_in_failures_per_address": "3/hour"}
    client = await start(settings.model_copy(update=strict))
    where = {"X-Forwarded-For": "203.0.113.7"}
    for status in (401, 401, 401, 429):
        assert (await ask(client, {"Authorization": f"Bearer {new_key()}", **where}))[0] == status


# A request of each kind: the scope that it takes, and what it gets with that.
NOTHING = f"{LIST}/{UUID(int=1)}"
REQUESTS = [
    ("GET", LIST, "read", 200),
    ("HEAD", LIST, "read", 200),
    ("GET", NOTHING, "read", 404),
    ("GET", f"{NOTHING}/stream", "read", 404),
    ("GET", "/api/usage", "read", 200),
    ("GET", "/api/models", "read", 200),
    ("POST", "/api/tickets", "read", 201),
    ("POST", LIST, "chat", 201),
    ("PUT", NOTHING, "chat", 422),
    ("DELETE", NOTHING, "chat", 404),
    ("POST", f"{NOTHING}/messages", "chat", 422),
    ("POST", f"{NOTHING}/regenerate", "chat", 404),
    ("POST", f"{NOTHING}/continue", "chat", 404),
    ("POST", f"{NOTHING}/tool_results", "chat", 422),
    ("POST", f"{NOTHING}/stop", "chat", 404),
    ("POST", f"{NOTHING}/fork", "chat", 422),
    ("DELETE", f"{NOTHING}/messages/{UUID(int=1)}", "chat", 404),
    ("POST", "/api/models/swap", "admin", 422),
    ("GET", "/api/admin/users", "admin", 501),
]


@pytest.mark.parametrize(("method", "path", "scope", "status"), REQUESTS)
async def test_each_request_takes_its_scope_and_no_other_will_do(
    client: Client, sql: Connection, model: ModelServer, method: str, path: str, scope: str, status: int
) -> None:
    others = [each for each in ("read", "chat", "admin") if each != scope]
    async with client.request(method, path, headers=await key_of(sql, scopes=others)) as response:
        assert response.status == 403
        challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
        assert response.headers["WWW-Authenticate"] == challenge
        if method != "HEAD":
            body = await response.json()
            assert (body["code"], body["scope"]) == ("scope_missing", scope)
            assert f"the scope {scope}" in body["detail"]
    async with client.request(method, path, headers=await key_of(sql, scopes=[scope])) as response:
        assert response.status == status


async def test_every_route_that_wants_a_user_is_asked_here(client: Client) -> None:
    assert client.app is not None
    known = {(method, path.replace(str(UUID(int=1)), "{}")) for method, path, _, _ in REQUESTS}
    wanting = set()
    for route in client.app.router.routes():
        path = "" if route.resource is None else route.resource.canonical
        if path and not path.startswith("/v1/") and route.method not in ("OPTIONS", "*"):
            concrete = path.replace("{id}", str(UUID(int=1))).replace("{message_id}", str(UUID(int=1)))
            if "{" in concrete:  # files, which are public
                continue
            async with client.request(route.method, concrete) as response:
                if response.status == 401 and route.method != "HEAD":
                    wanting.add((route.method, concrete.replace(str(UUID(int=1)), "{}")))
    assert wanting - known == set()


async def test_openais_api_takes_read_for_get_and_chat_for_the_rest(client: Client, sql: Connection) -> None:
    assert client.app is not None
    keys = {scope: await key_of(sql, scopes=[scope]) for scope in ("read", "chat")}
    asked = 0
    for route in client.app.router.routes():
        path = "" if route.resource is None else route.resource.canonical
        if not path.startswith("/v1/") or route.method == "OPTIONS":
            continue
        asked += 1
        path = re.sub("{[^}]*}", "nothing", path)
        for scope, headers in keys.items():
            async with client.request(route.method, path, headers=headers) as response:
                is_refused = (scope == "read") != (route.method in ("GET", "HEAD"))
                assert (response.status == 403) == is_refused, (route.method, path, scope)
    assert asked > 10


async def test_an_unknown_path_tells_no_key_more_than_a_token(client: Client, sql: Connection) -> None:
    assert await ask(client, await key_of(sql), "/api/nothing") == (404, "not_found")


async def test_only_the_scope_admin_makes_an_administrator(client: Client, sql: Connection) -> None:
    for scopes, is_admin in ((["read", "chat"], False), (["admin"], True)):
        key = (await key_of(sql, scopes=scopes))["Authorization"].removeprefix("Bearer ")
        assert (await client.app[VERIFIER].verify(key)).is_admin is is_admin  # type: ignore[index]


async def test_an_administrators_token_has_every_scope(client: Client, auth: AuthService) -> None:
    assert (await ask(client, auth.sign_in(is_admin=True), "/api/admin/users"))[0] == 501
    assert await ask(client, auth.sign_in(), "/api/admin/users") == (403, "forbidden")


FIELDS: dict[str, dict[str, Any]] = {
    "send": {"content": "hi"},
    "tool_results": {"results": [{"tool_call_id": "c1", "content": "x"}]},
}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"auth"}))
@pytest.mark.parametrize("by_frame", [False, True])
async def test_each_command_takes_its_scope(
    client: Client, sql: Connection, kind: str, by_frame: bool
) -> None:
    scope = "read" if kind in ("subscribe", "unsubscribe") else "chat"
    for scopes, is_allowed in (([scope], True), (sorted({"read", "chat", "admin"} - {scope}), False)):
        program = await key_of(sql, scopes=scopes)
        way = {"user": program} if by_frame else {"headers": program}
        async with open_tab(client, **way) as tab:
            if not by_frame:
                assert (await tab.hear())["type"] == "ready"
            frame = await tab.ask(kind, f"/{uuid4()}", **FIELDS.get(kind, {}))
            if is_allowed:
                assert frame.get("code") in ("conversation_not_found", None), frame
            else:
                assert (frame["code"], frame["status"], frame["scope"]) == ("scope_missing", 403, scope)


async def test_a_socket_may_change_to_another_key_of_its_user_and_gets_its_scopes(
    client: Client, sql: Connection
) -> None:
    async with open_tab(client, await key_of(sql, USER, ["read"])) as tab:
        assert (await tab.ask("stop", f"/{uuid4()}"))["code"] == "scope_missing"
        more = (await key_of(sql, USER))["Authorization"].removeprefix("Bearer ")
        assert (await tab.ask("auth", token=more))["type"] == "ready"
        assert (await tab.ask("stop", f"/{uuid4()}"))["code"] == "conversation_not_found"


async def test_a_key_is_in_no_log_line(
    client: Client, sql: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    program = await key_of(sql)
    await ask(client, program)
    forged = new_key()
    await ask(client, {"Authorization": f"Bearer {forged}"})
    await until(lambda: sql.fetchval("select last_used_at is not null from api_keys"))
    said = "".join(capsys.readouterr())
    assert '"status": 401' in said or "status=401" in said
    for key in (forged, program["Authorization"].removeprefix("Bearer ")):
        assert key not in said
