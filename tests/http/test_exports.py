"""Exports over HTTP: everything of a user, and one conversation as Markdown, JSON and JSON Lines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import UUID, uuid4

import aiohttp
import pytest

from chat_api import errors
from chat_api.cli import main
from chat_api.http.context import EXPORTS, GENERATIONS
from chat_api.settings import Settings
from tests.commands.test_user_command import forked, talked
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Client, until
from tests.support.keys import key_of
from tests.support.queries import Chat, Connection

Headers = dict[str, str]
Run = Callable[..., tuple[int, str, str]]

FAMILY = "👩‍👩‍👧 \u2028 e\u0301 \u202eשל <b>"
CALL = {"id": "c1", "name": "weather", "arguments": '{"city":"पुणे"}'}


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `chat-api user …`. Returns its exit status, stdout and stderr."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()  # the log
        status = main(["user", *map(str, arguments)])
        return (status, *capfd.readouterr())

    return run


async def a_life(sql: Connection, user_id: UUID) -> Chat:
    """A conversation with forks, thinking, calls and emoji, another, and usage of one that is gone."""
    chat = await forked(sql, user_id)
    await chat.say(sql, "assistant", FAMILY, 90)
    await chat.say(sql, "tool", "31° ```\n````", 91)
    await sql.execute("update messages set tool_call_id = 'c1' where role = 'tool'")
    await sql.execute(
        "update messages set reasoning = $2, tool_calls = $3, model_tag = 'd20' where content = $1",
        FAMILY,
        f"they ask {FAMILY} </details>",
        json.dumps([CALL], ensure_ascii=False),
    )
    await talked(sql, user_id, "another")
    gone = await talked(sql, user_id, "gone")
    await sql.execute("delete from conversations where id = $1", gone.id)
    await talked(sql, uuid4(), "a stranger's")
    return chat


async def read(client: Client, path: str, user: Headers, **params: str) -> bytes:
    async with client.get(path, headers=user, params=params) as response:
        assert response.status == 200, await response.text()
        return await response.read()


async def in_transaction(sql: Connection) -> int:
    """How many exports hold a transaction open."""
    count: int = await sql.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        r" and (state ~ 'in transaction' or state = 'active' and query ~ 'users\.(export|owned)')"
    )
    return count


async def waits(sql: Connection) -> list[int]:
    """The processes of the exports that wait until their clients take more."""
    idle = "datname = current_database() and state = 'idle in transaction'"
    rows = await sql.fetch(f"select pid from pg_stat_activity where {idle}")
    return [row["pid"] for row in rows]


async def both_wait(sql: Connection) -> bool:
    return len(await waits(sql)) == 2


async def nothing_is_read(sql: Connection) -> bool:
    return not await in_transaction(sql)


async def test_everything_is_exported_as_the_command_does(
    client: Client, auth: AuthService, sql: Connection, run: Run
) -> None:
    chat = await a_life(sql, uuid4())
    async with client.get("/api/export", headers=auth.sign_in(chat.user_id)) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "application/x-ndjson"
        name = f"chat-export-{datetime.now(UTC).date()}.jsonl"
        assert response.headers["Content-Disposition"] == (
            f"attachment; filename=\"{name}\"; filename*=UTF-8''{name}"
        )
        assert response.headers["Cache-Control"] == "no-store"
        assert "ETag" not in response.headers
        body = await response.read()
    status, text, said = run("export", chat.user_id)
    assert (status, said) == (0, "")
    assert body.decode() == text
    first, *lines, last = map(
        json.loads, text.splitlines() if "\u2028" not in text else text.split("\n")[:-1]
    )
    assert first == {
        "type": "export",
        "format": 3,
        "service": "chat-api",
        "user_id": str(chat.user_id),
        "conversation_id": None,
    }
    kinds = [line["type"] for line in lines]
    assert last == {
        "type": "end",
        "conversations": 2,
        "messages": kinds.count("message"),
        "queued_messages": 0,
        "generations": kinds.count("generation"),
        "usage": 7,
    }
    assert (last["messages"], last["generations"]) == (12, 6)
    assert b"stranger" not in body


async def test_export_import_into_an_empty_database_export_gives_equal_bytes(
    client: Client,
    auth: AuthService,
    sql: Connection,
    run: Run,
    start: Start,
    settings: Settings,
    new_database: Callable[[str], str],
    template: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chat = await a_life(sql, uuid4())
    await sql.execute(
        "insert into queued_messages (conversation_id, content, request, idempotency_key)"
        " values ($1, 'and then?', '{\"options\": {}}', 'k')",
        chat.id,
    )
    user = auth.sign_in(chat.user_id)
    path = f"/api/conversations/{chat.id}/export"
    before = [await read(client, "/api/export", user), await read(client, path, user, format="json")]
    file = tmp_path / "export.jsonl"
    file.write_bytes(before[0])
    empty = new_database(template)
    monkeypatch.setenv("DATABASE_URL", empty)
    assert run("import", chat.user_id, file)[0] == 0
    there = await start(settings.model_copy(update={"database_url": empty}))
    assert [await read(there, "/api/export", user), await read(there, path, user, format="json")] == before


@pytest.mark.parametrize("format_", ["jsonl", "json", "markdown"])
async def test_a_conversation_of_a_user_who_has_others_comes_alone(
    client: Client, auth: AuthService, sql: Connection, run: Run, format_: str
) -> None:
    chat = await a_life(sql, uuid4())
    user = auth.sign_in(chat.user_id)
    body = await read(client, f"/api/conversations/{chat.id}/export", user, format=format_)
    assert FAMILY.partition(" ")[0].encode() in body
    assert b"another" not in body
    assert b"gone" not in body
    exported = run("export", chat.user_id, "--conversation", chat.id)[1]
    lines = [json.loads(line) for line in exported.split("\n")[1:-2]]
    if format_ == "jsonl":
        assert body.decode() == exported
    elif format_ == "json":
        found = json.loads(body)
        assert list(found) == [
            "format", "conversation", "messages", "queued_messages", "generations", "usage"
        ]  # fmt: skip
        types = {
            "conversation": [found["conversation"]],
            **{name.removesuffix("s"): found[name] for name in list(found)[2:-1]},
            "usage": found["usage"],
        }
        rebuilt = [{"type": kind, **each} for kind, values in types.items() for each in values]
        assert rebuilt == lines
        assert len(found["messages"]) == 10
    else:
        assert body.count(b"\n## ") == len([line for line in lines if line.get("is_active")])


async def test_an_export_of_nothing_is_whole(client: Client, user: Headers, conversation: str) -> None:
    found = json.loads(await read(client, f"{conversation}/export", user, format="json"))
    assert [found[name] for name in ("messages", "queued_messages", "generations", "usage")] == [[]] * 4
    markdown = await read(client, f"{conversation}/export", user, format="markdown")
    assert markdown.startswith(b"# New conversation\n\n- Begun: ")
    async with client.delete(conversation, headers=user) as response:
        assert response.status == 204
    lines = (await read(client, "/api/export", user)).split(b"\n")
    assert [json.loads(line)["type"] for line in lines[:-1]] == ["export", "end"]


async def test_a_file_is_named_by_the_title(client: Client, user: Headers) -> None:
    title = {"title": 'a/b "\r\n\u202e नमस्ते 🥟?'}
    async with client.post("/api/conversations", json=title, headers=user) as response:
        path = f"/api/conversations/{(await response.json())['id']}/export"
    for format_, kind, ending in (
        ("", "text/markdown; charset=utf-8", "md"),
        ("json", "application/json; charset=utf-8", "json"),
        ("jsonl", "application/x-ndjson", "jsonl"),
    ):
        query = f"?format={format_}" if format_ else ""
        async with client.get(path + query, headers=user) as response:
            assert response.headers["Content-Type"] == kind
            name = f"a b नमस्ते 🥟.{ending}"
            assert response.headers["Content-Disposition"] == (
                f"attachment; filename=\"a b.{ending}\"; filename*=UTF-8''{quote(name)}"
            )
            assert response.content_disposition is not None
            assert response.content_disposition.filename == name


async def test_an_unknown_format_is_refused_with_the_names_of_those_that_there_are(
    client: Client, user: Headers, conversation: str
) -> None:
    for asked in ("pdf", "", "Markdown"):
        async with client.get(f"{conversation}/export", headers=user, params={"format": asked}) as response:
            assert (response.status, await response.json()) == (
                400,
                {
                    "detail": errors.FormatUnknown.sentence,
                    "code": "format_unknown",
                },
            )


async def test_who_may_not_read_gets_nothing(
    client: Client, auth: AuthService, conversation: str, sql: Connection
) -> None:
    expired = auth.sign_in(exp=1.0)
    for path in ("/api/export", f"{conversation}/export"):
        for user in ({}, expired):
            async with client.get(path, headers=user) as response:
                assert response.status == 401
    async with client.get(f"{conversation}/export", headers=auth.sign_in()) as response:
        assert (response.status, (await response.json())["code"]) == (404, "conversation_not_found")
    assert await in_transaction(sql) == 0


async def test_a_programs_key_may_read_or_it_gets_nothing(
    start: Start, settings: Settings, sql: Connection
) -> None:
    client = await start(settings.model_copy(update={"auth": "keys"}))
    reading, writing = [await key_of(sql, scopes=[scope]) for scope in ("read", "chat")]
    assert await read(client, "/api/export", reading)
    async with client.get("/api/export", headers=writing) as response:
        assert (response.status, (await response.json())["scope"]) == (403, "read")


@pytest.mark.parametrize("path", ["/api/export", "{conversation}/export?format=json"])
async def test_head_has_the_headers_and_no_body_and_no_condition_changes_a_thing(
    client: Client, user: Headers, conversation: str, path: str, sql: Connection
) -> None:
    path = path.format(conversation=conversation)
    async with client.head(path, headers=user) as response:
        headers = response.headers
        assert (response.status, await response.read()) == (200, b"")
    for condition in ({"If-None-Match": "*"}, {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}):
        async with client.get(path, headers=user | condition) as response:
            assert response.status == 200
            assert len(await response.read()) > 100
            for name in ("Content-Type", "Content-Disposition", "Cache-Control"):
                assert response.headers[name] == headers[name]
    assert await in_transaction(sql) == 0


async def test_head_leaves_the_connection_to_the_next_request(client: Client, user: Headers) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    head = f"HEAD /api/export HTTP/1.1\r\nHost: x\r\nAuthorization: {user['Authorization']}\r\n\r\n"
    writer.write(f"{head}GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    first, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert first.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"HTTP/1.1 200")


# Many at once, clients that leave or take nothing, and a database that goes away.


@pytest.fixture
async def much(sql: Connection, auth: AuthService) -> Headers:
    """A user of whom 40 MB are stored: more than any socket keeps."""
    user_id = uuid4()
    conversation_id = await sql.fetchval(
        "insert into conversations (user_id) values ($1) returning id", user_id
    )
    await sql.execute(
        "insert into messages (conversation_id, role, content)"
        " select $1, 'user', repeat('x', 100000) from generate_series(1, 400)",
        conversation_id,
    )
    return auth.sign_in(user_id)


async def test_exports_at_once_are_whole_and_few(
    client: Client, user: Headers, much: Headers, sql: Connection
) -> None:
    """Two of one user at most, and four of all; what else is asked for is served meanwhile."""
    mine = [await client.get("/api/export", headers=much) for _ in range(2)]
    assert await until(lambda: both_wait(sql))
    async with client.get("/api/export", headers=much) as refused:
        body = await refused.json()
        assert (refused.status, body["code"]) == (429, "too_many_exports")
        assert refused.headers["Retry-After"] == "10"
    assert client.app is not None
    places = client.app[EXPORTS]
    with places.place(uuid4()), places.place(uuid4()):
        async with client.get("/api/export", headers=user) as refused:
            assert (refused.status, (await refused.json())["code"]) == (503, "exports_busy")
            assert refused.headers["Retry-After"] == "30"
    assert len(await read(client, "/api/export", user)) < 500
    async with client.get("/api/conversations", headers=much) as response:
        assert response.status == 200
    first, second = [await response.read() for response in mine]
    assert first == second
    assert first.endswith(b',"messages":400,"queued_messages":0,"generations":0,"usage":0}\n')
    assert len(await read(client, "/api/export", much)) == len(first)
    assert await in_transaction(sql) == 0


async def test_an_export_shows_one_moment(client: Client, much: Headers, sql: Connection) -> None:
    async with client.get("/api/export", headers=much) as response:
        await response.content.readexactly(1)
        await sql.execute("delete from messages")
        assert (await response.read()).count(b'\n{"type":"message"') == 400


async def test_a_client_that_leaves_leaves_nothing_behind(
    client: Client, much: Headers, sql: Connection
) -> None:
    response = await client.get("/api/export", headers=much)
    await response.content.readexactly(1)
    response.close()
    await until(lambda: nothing_is_read(sql))
    assert client.app is not None
    with client.app[EXPORTS].place(uuid4()), client.app[EXPORTS].place(uuid4()):
        pass
    assert len(await read(client, "/api/export", much)) > 40_000_000


@pytest.mark.parametrize("limit", ["slow_reader_timeout", "export_timeout"])
async def test_a_client_that_takes_too_long_is_cut(
    start: Start, settings: Settings, much: Headers, sql: Connection, limit: str
) -> None:
    client = await start(settings.model_copy(update={limit: 0.5}))
    async with client.get("/api/export", headers=much) as response:
        await response.content.readexactly(1)
        await until(lambda: nothing_is_read(sql))
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    async with client.get("/metrics") as response:
        assert 'chat_readers_cut_total{transport="http"} 1.0' in await response.text()


async def test_an_export_ends_with_the_token_where_streams_do(
    start: Start, settings: Settings, much: Headers, auth: AuthService, sql: Connection
) -> None:
    client = await start(settings.model_copy(update={"expired_streams": "cut"}))
    user_id = await sql.fetchval("select user_id from conversations")
    async with client.get("/api/export", headers=auth.sign_in(user_id, exp=time.time() + 1.5)) as response:
        assert response.status == 200
        await until(lambda: nothing_is_read(sql))
        with pytest.raises(aiohttp.ClientError):
            await response.read()


async def test_a_connection_to_the_database_that_ends_breaks_the_export(
    client: Client, much: Headers, sql: Connection
) -> None:
    async with client.get("/api/export", headers=much) as response:
        await response.content.readexactly(1)
        (pid,) = await until(lambda: waits(sql))
        await sql.execute("select pg_terminate_backend($1)", pid)
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    assert len(await read(client, "/api/export", much)) > 40_000_000


async def test_a_database_that_is_away_is_told_before_the_first_byte(
    start: Start, settings: Settings, user: Headers
) -> None:
    nowhere = "postgresql://u@127.0.0.1:1/none"
    client = await start(settings.model_copy(update={"database_url": nowhere}))
    async with client.get("/api/export", headers=user) as response:
        assert (response.status, (await response.json())["code"]) == (503, "database_unavailable")
        assert "Content-Disposition" not in response.headers


async def test_a_server_that_drains_begins_no_export(client: Client, user: Headers) -> None:
    assert client.app is not None
    await client.app[GENERATIONS].drain()
    async with client.get("/api/export", headers=user) as response:
        assert (response.status, (await response.json())["code"]) == (503, "draining")
