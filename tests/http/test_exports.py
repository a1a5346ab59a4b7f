"""Exports over HTTP: everything of a user, and one conversation as Markdown, JSON and JSON Lines."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from chat_api.cli import main
from chat_api.http.context import DATABASE, EXPORTS, GENERATIONS
from chat_api.settings import Settings
from tests.commands.test_user_command import forked, talked
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.chat import until
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
    """A conversation with forks, thinking, calls and emoji, a second one, and usage of a third that is gone."""
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


async def exports_in_progress(sql: Connection) -> int:
    """How many connections hold a transaction open."""
    kept = "select count(*) from pg_stat_activity where state ~ 'in transaction' and pid <> pg_backend_pid()"
    count: int = await sql.fetchval(kept)
    return count


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
