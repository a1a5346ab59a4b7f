"""What surrounds an import: limits, progress, races, other users, a database that goes away."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest

from chat_api.http.context import GENERATIONS, IMPORTS
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.importing.conftest import Bring
from tests.importing.test_formats import FILES
from tests.importing.test_hostile_files import CHATGPT, CLAUDE
from tests.support.auth_service import AuthService
from tests.support.chat import until
from tests.support.model_server import ModelServer
from tests.support.queries import Connection, dump

LINES = {"Accept": "application/x-ndjson"}


def conversation(number: int, text: str = "Hello") -> dict[str, Any]:
    """A conversation in Claude's form."""
    said = [{"uuid": f"m{number}", "sender": "human", "text": text, "created_at": "2025-05-01T10:00:00Z"}]
    return {"uuid": f"c{number}", "name": f"No {number}", "chat_messages": said}


def many(count: int) -> bytes:
    """A file of so many conversations."""
    return json.dumps([conversation(number) for number in range(count)]).encode()


class Feed:
    """A body that is sent as the test wants it."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def give(self, piece: bytes | None) -> None:
        """Send a piece; None: that was all."""
        self._pieces.put_nowait(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """For aiohttp."""
        while (piece := await self._pieces.get()) is not None:
            yield piece


async def count(sql: Connection) -> int:
    """How many conversations are stored."""
    number: int = await sql.fetchval("select count(*) from conversations")
    return number


async def test_a_form_with_a_file_will_do(client: Client, user: dict[str, str]) -> None:
    form = aiohttp.FormData()
    form.add_field("note", "first")
    form.add_field("file", CLAUDE, filename="x.bin", content_type="application/octet-stream")
    async with client.post("/api/import", data=form, headers=user) as response:
        assert (response.status, (await response.json())["conversations"]["added"]) == (200, 2)


async def test_a_form_without_a_file_is_refused(client: Client, user: dict[str, str]) -> None:
    form = aiohttp.FormData({"a": "b"}, default_to_multipart=True)
    async with client.post("/api/import", data=form, headers=user) as response:
        assert (response.status, (await response.json())["code"]) == (415, "import_unreadable")
    headers = {**user, "Content-Type": "multipart/form-data; boundary=x"}
    async with client.post("/api/import", data=b"--y\r\n", headers=headers) as response:
        assert (response.status, (await response.json())["code"]) == (415, "import_unreadable")


async def test_a_file_may_be_larger_than_any_other_body(
    start: Start, settings: Settings, user: dict[str, str]
) -> None:
    client = await start(settings.model_copy(update={"max_body_bytes": 1024, "import_max_bytes": 2**20}))
    async with client.post("/api/import", data=many(100), headers=user) as response:
        assert (response.status, (await response.json())["conversations"]["added"]) == (200, 100)
    async with client.post("/api/import", data=io.BytesIO(bytes(2**20 + 1)), headers=user) as response:
        assert (response.status, (await response.json())["code"]) == (413, "import_too_large")
    feed = Feed()
    feed.give(many(101)[:-1] + b" " * 2**20)
    feed.give(None)
    async with client.post("/api/import", data=feed.pieces(), headers=user) as response:
        body = await response.json()
        assert (response.status, body["code"]) == (413, "import_too_large")
        assert body["detail"].endswith("So far, 1 conversation of it is imported.")


async def test_progress_comes_line_by_line_and_at_last_the_report(
    client: Client, user: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_api.routes.import_course.PROGRESS_SECONDS", 0)
    async with client.post("/api/import", data=many(50), headers={**user, **LINES}) as response:
        assert (response.status, response.content_type) == (200, LINES["Accept"])
        lines = [json.loads(line) async for line in response.content]
    assert lines[0] == {
        "progress": {
            "percent": 100,
            "bytes": len(many(50)),
            "conversations": {"added": 1, "there": 0, "left_out": 0},
        }
    }
    assert lines[-1]["report"]["conversations"]["added"] == 50
    async with client.post("/api/import", data=b"nothing", headers={**user, **LINES}) as response:
        assert response.status == 415


async def test_one_import_a_user_and_a_few_for_all(
    client: Client, auth: AuthService, user: dict[str, str], sql: Connection
) -> None:
    feeds = [Feed(), Feed()]
    running = [
        asyncio.create_task(client.post("/api/import", data=feed.pieces(), headers=headers))
        for feed, headers in zip(feeds, (user, auth.sign_in()), strict=True)
    ]
    for feed in feeds:
        feed.give(many(2)[:-1])
    await until(lambda: sql.fetchval("select count(*) = 4 from conversations"))
    for headers, status, code in ((user, 409, "import_running"), (auth.sign_in(), 429, "too_many_imports")):
        async with client.post("/api/import", data=CLAUDE, headers=headers) as response:
            assert (response.status, (await response.json())["code"]) == (status, code)
    for feed in feeds:
        feed.give(b"]")
        feed.give(None)
    for task in running:
        async with await task as response:
            assert (response.status, (await response.json())["conversations"]["added"]) == (200, 2)
    async with client.post("/api/import", data=CLAUDE, headers=user) as response:
        assert response.status == 200


async def test_the_same_file_on_two_workers_at_once_is_stored_once(
    start: Start, settings: Settings, user: dict[str, str], sql: Connection
) -> None:
    workers = [await start(settings) for _ in range(3)]
    file = many(60)
    responses = await asyncio.gather(
        *(worker.post("/api/import", data=file, headers=user) for worker in workers)
    )
    reports = [await response.json() for response in responses]
    assert sum(report["conversations"]["added"] for report in reports) == 60
    assert [sum(report["conversations"].values()) for report in reports] == [60] * 3
    assert [report["problems"] for report in reports] == [[]] * 3
    assert (await count(sql), await sql.fetchval("select count(*) from messages")) == (60, 60)


async def test_another_users_import_of_the_same_file_tells_and_changes_nothing(
    bring: Bring, auth: AuthService, client: Client, user: dict[str, str], sql: Connection
) -> None:
    mine = await bring(CHATGPT)
    before = await dump(sql)
    stranger = auth.sign_in()
    assert await bring(CHATGPT, stranger) == mine
    after = await dump(sql)
    for table in ("conversations", "messages", "inactive_messages"):
        assert len(after[table]) == 2 * len(before[table]), table
        assert [row for row in after[table] if row in before[table]] == before[table], table
    # Nor does an own export with another user's id in it.
    taken = before["conversations"][0]["id"]
    line = {"type": "conversation", "id": str(taken), "title": "Mine"}
    free = {**line, "id": str(uuid4())}
    reports = [await bring(json.dumps(each).encode(), stranger) for each in (line, free)]
    assert reports[0] == reports[1]
    assert reports[0]["conversations"]["added"] == 1
    assert (await dump(sql))["messages"] == after["messages"]
    async with client.get(f"/api/conversations/{taken}", headers=stranger) as response:
        assert response.status == 404


async def test_without_a_token_nothing_is_read(client: Client, sql: Connection) -> None:
    async with client.post("/api/import", data=CLAUDE) as response:
        assert response.status == 401
    assert await count(sql) == 0


async def test_what_was_deleted_comes_back_and_what_was_said_since_stays(
    bring: Bring, client: Client, user: dict[str, str], model: ModelServer
) -> None:
    await bring(many(1))
    listed = await (await client.get("/api/conversations", headers=user)).json()
    path = f"/api/conversations/{listed['items'][0]['id']}"
    sent = asyncio.create_task(
        client.post(f"{path}/messages", json={"content": "And now?", "stream": False}, headers=user)
    )
    call = await model.call()
    assert model.requests[-1].request["messages"][0]["content"].startswith("Hello")
    call.finish("Now.")
    assert (await sent).status == 200
    assert (await bring(many(1)))["conversations"] == {"added": 0, "there": 1, "left_out": 0}
    shown = await (await client.get(path, headers=user)).json()
    assert [each["content"] for each in shown["messages"]][-1] == "Now."
    await client.delete(path, headers=user)
    assert (await bring(many(1)))["conversations"]["added"] == 1
    shown = await (await client.get(path, headers=user)).json()
    assert [each["content"] for each in shown["messages"]] == ["Hello"]


async def test_a_conversation_whose_rows_are_still_being_deleted_is_left_out_for_now(
    bring: Bring, sql: Connection
) -> None:
    await bring(many(1))
    await sql.execute("update conversations set user_id = null")
    report = await bring(many(1))
    assert report["conversations"] == {"added": 0, "there": 0, "left_out": 1}
    assert "being deleted" in report["problems"][0]["why"]


async def test_the_limit_of_conversations_and_retention_hold(
    start: Start, settings: Settings, user: dict[str, str], sql: Connection
) -> None:
    client = await start(settings.model_copy(update={"max_conversations_per_user": 3}))
    async with client.post("/api/import", data=many(5), headers=user) as response:
        report = await response.json()
    assert report["conversations"] == {"added": 3, "there": 0, "left_out": 2}
    assert "no room" in report["problems"][0]["why"]
    await sql.execute("delete from conversations")
    client = await start(settings.model_copy(update={"retention_days": 30}))
    async with client.post("/api/import", data=CHATGPT, headers=user) as response:  # it has a star
        assert (await response.json())["conversations"]["added"] == 1
    async with client.post("/api/import", data=CLAUDE, headers=user) as response:
        report = await response.json()
    assert report["conversations"] == {"added": 0, "there": 0, "left_out": 2}
    assert {each["why"] for each in report["problems"]} == {"It is older than what is kept here."}


async def test_a_client_that_leaves_has_what_it_sent_and_frees_its_place(
    client: Client, user: dict[str, str], sql: Connection
) -> None:
    feed = Feed()
    feed.give(many(3)[:-1])
    task = asyncio.create_task(client.post("/api/import", data=feed.pieces(), headers=user))
    await until(lambda: sql.fetchval("select count(*) = 3 from conversations"))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert client.app is not None
    slots = client.app[IMPORTS]

    async def is_free() -> bool:
        try:
            with slots.take(UUID(int=0)), slots.take(UUID(int=1)):
                return True
        except Exception:
            return False

    await until(is_free)
    assert await count(sql) == 3


async def test_a_silent_client_is_told_so(start: Start, settings: Settings, user: dict[str, str]) -> None:
    client = await start(settings.model_copy(update={"request_timeout": 0.2}))
    feed = Feed()
    feed.give(many(2)[:-1])
    async with client.post("/api/import", data=feed.pieces(), headers=user) as response:
        assert (response.status, (await response.json())["code"]) == (408, "request_timeout")


async def test_a_worker_that_drains_ends_the_import_and_says_how_far_it_was(
    client: Client, user: dict[str, str], sql: Connection
) -> None:
    feed = Feed()
    feed.give(many(2)[:-1])
    task = asyncio.create_task(client.post("/api/import", data=feed.pieces(), headers=user))
    await until(lambda: sql.fetchval("select count(*) = 2 from conversations"))
    assert client.app is not None
    client.app[GENERATIONS].draining = True
    feed.give(b"," + json.dumps(conversation(7)).encode())
    async with await task as response:
        body = await response.json()
        assert (response.status, body["code"], response.headers["Retry-After"]) == (
            503,
            "import_interrupted",
            "5",
        )
        assert "2 conversations are imported; import the file again" in body["detail"]


async def test_what_the_database_refuses_is_left_out(bring: Bring, sql: Connection) -> None:
    await sql.execute("alter table messages add constraint no_odd check (content <> 'odd')")
    file = json.dumps([conversation(1), conversation(2, "odd"), conversation(3)]).encode()
    report = await bring(file)
    assert report["conversations"] == {"added": 2, "there": 0, "left_out": 1}
    assert report["problems"] == [{"conversation": "No 2", "why": "The database refused it."}]
    assert (await count(sql), await sql.fetchval("select count(*) from messages")) == (2, 2)


async def test_the_largest_conversation_fits_into_one_statement(bring: Bring, sql: Connection) -> None:
    said = [
        {"uuid": f"{n}", "sender": ("human", "assistant")[n % 2], "text": "word " * 100}
        for n in range(10_000)
    ]
    file = json.dumps([{"uuid": "c", "name": "Long", "chat_messages": said}]).encode()
    report = await bring(file)
    assert report["messages"]["added"] == 10_000
    positions = await sql.fetch("select content from messages order by position limit 2")
    assert len(positions) == 2


@pytest.mark.parametrize("name", ["chatgpt", "open_webui"])
async def test_versions_are_switched_edited_and_answered_again_as_any_others(
    bring: Bring, client: Client, user: dict[str, str], model: ModelServer, name: str
) -> None:
    await bring(FILES / f"{name}.json")
    listed = await (await client.get("/api/conversations", headers=user)).json()
    path = f"/api/conversations/{listed['items'][0]['id']}"
    before = await (await client.get(path, headers=user)).json()
    question = [each for each in before["messages"] if each["role"] == "user"][-1]
    body = {"content": "Edited", "parent_id": question["parent_id"], "stream": False}
    sent = asyncio.create_task(client.post(f"{path}/messages", json=body, headers=user))
    (await model.call()).finish("Again.")
    assert (await sent).status == 200
    after = await (await client.get(path, headers=user)).json()
    assert [each["content"] for each in after["messages"]][-2:] == ["Edited", "Again."]
    assert question["id"] in after["messages"][-2]["siblings"]["ids"]
    back = await client.put(path, json={"active_message_id": question["id"]}, headers=user)
    assert back.status == 200
    again = await (await client.get(path, headers=user)).json()
    assert [each["id"] for each in again["messages"]] == [each["id"] for each in before["messages"]]
    copy = await client.post(f"{path}/fork", json={"message_id": question["id"]}, headers=user)
    assert copy.status == 201


async def test_a_database_that_goes_away_ends_the_import_and_again_is_once(
    start: Start, settings: Settings, user: dict[str, str], sql: Connection
) -> None:
    client = await start(settings.model_copy(update={"database_timeout": 0.5}))
    feed = Feed()
    feed.give(many(2)[:-1])
    task = asyncio.create_task(client.post("/api/import", data=feed.pieces(), headers={**user, **LINES}))
    await until(lambda: sql.fetchval("select count(*) = 2 from conversations"))
    async with sql.transaction():
        await sql.execute("lock table messages in access exclusive mode")  # as one that hangs
        feed.give(b"," + json.dumps(conversation(2)).encode())
        async with await task as response:
            lines = [json.loads(line) async for line in response.content]
    assert lines[-1].get("error", lines[-1])["code"] == "import_interrupted"
    # Whether the third one was stored in the end isn't known, and nor need it be.
    async with client.post("/api/import", data=many(3), headers=user) as response:
        report = await response.json()
    assert report["conversations"]["added"] + report["conversations"]["there"] == 3
    assert (await count(sql), await sql.fetchval("select count(*) from messages")) == (3, 3)
