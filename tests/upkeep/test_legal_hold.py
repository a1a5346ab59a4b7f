"""What is on legal hold stays, whoever deletes, and keeps nothing else from going."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from chat_api.cli import main
from chat_api.upkeep.cleaning import BEGINNING
from tests.support.auth_service import AuthService
from tests.support.chat import Chat as OpenChat
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.queries import Chat, Connection, meet, one

SWEEP: dict[str, Any] = {"first_block": 0, "blocks": 2**32, "days": 30, "favourites": True, "max_rows": 1}
HOLDS = ("conversation_id", "user_id")


async def talked(sql: Connection, **whose: Any) -> Chat:
    """A conversation with a question and its answer, from 40 days ago."""
    chat = await Chat(**whose).open(sql)
    await chat.finish(sql, await chat.begin(sql))
    await sql.execute(
        "update conversations set updated_at = now() - interval '40 days' where id = $1", chat.id
    )
    await sql.execute(
        "update generations set finished_at = now() - interval '40 days',"
        " id = cast(left(chat_uuid7_at(now() - interval '40 days')::text, 18) || substr(id::text, 19)"
        " as uuid)"
        " where conversation_id = $1",
        chat.id,
    )
    return chat


async def hold(sql: Connection, chat: Chat, by: str = "conversation_id") -> None:
    """Set a hold."""
    subject = chat.id if by == "conversation_id" else chat.user_id
    await sql.execute(f"insert into legal_hold ({by}, reason) values ($1, 'file 17')", subject)


async def left(sql: Connection) -> set[Any]:
    """The conversations that are left."""
    return {row["id"] for row in await sql.fetch("select id from conversations")}


@pytest.mark.parametrize("by", HOLDS)
async def test_the_sweep_passes_over_it_and_takes_what_comes_after(sql: Connection, by: str) -> None:
    held, others = await talked(sql), [await talked(sql) for _ in range(2)]
    await hold(sql, held, by)
    due = await one(
        sql, "retention.due", first_block=0, blocks=9, days=30, favourites=False, generation_days=30
    )
    assert due is not None
    assert (due["conversations"], due["messages"], due["generations"]) == (2, 4, 2)
    for _ in others:
        row = await one(sql, "retention.sweep", **SWEEP)  # one row a batch: the held one isn't it
        assert row is not None
        assert row["gone"] == 1
    assert await left(sql) == {held.id}
    await sql.execute("delete from legal_hold")
    row = await one(sql, "retention.sweep", **SWEEP)
    assert row is not None
    assert row["gone"] == 1


@pytest.mark.parametrize("by", HOLDS)
async def test_its_records_stay_and_those_of_others_go(sql: Connection, by: str) -> None:
    held, _ = await talked(sql), await talked(sql)
    await hold(sql, held, by)
    for gone in (1, 0):
        row = await one(sql, "retention.forget", after=BEGINNING, days=30, max_rows=1)
        assert row is not None
        assert row["gone"] == gone
    assert await sql.fetchval("select array_agg(conversation_id) from generations") == [held.id]


@pytest.mark.parametrize("by", HOLDS)
async def test_its_user_is_refused_and_told_why(
    sql: Connection, client: Client, auth: AuthService, model: ModelServer, by: str
) -> None:
    stored = await talked(sql)
    await hold(sql, stored, by)
    chat = OpenChat(client, f"/api/conversations/{stored.id}", auth.sign_in(stored.user_id))
    messages = (await chat.get())["messages"]
    deleted = await client.delete(chat.path, headers=chat.user)
    taken_back = await chat.take_back(messages[0]["id"])
    for refused in (deleted, taken_back):
        assert (refused.status, (await refused.json())["code"]) == (409, "legal_hold")
    assert (await chat.get())["messages"] == messages
    await sql.execute("delete from legal_hold")
    assert (await chat.take_back(messages[1]["id"])).status == 204
    assert (await client.delete(chat.path, headers=chat.user)).status == 204
    assert await left(sql) == set()


async def test_a_deletion_that_waits_for_the_hold_respects_it(sql: Connection, database_url: str) -> None:

    chat = await talked(sql)
    first, second = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    await first.execute("begin")
    await first.execute("select from conversations where id = $1 for key share", chat.id)
    await hold(first, chat)
    deleting = one(second, "conversations.delete", id=chat.id, user_id=chat.user_id)
    row = await meet(sql, first, second, deleting)
    assert row is not None
    assert row["outcome"] == "held"
    assert await left(sql) == {chat.id}
    await first.close()
    await second.close()


async def test_erasing_a_user_leaves_exactly_what_is_held_and_says_so(
    sql: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    held = await talked(sql)
    for _ in range(3):
        await talked(sql, user_id=held.user_id)
    await hold(sql, held)
    erasing = ["user", "delete", str(held.user_id), "--yes"]
    assert main(erasing) == 0
    assert capsys.readouterr().out == (
        f"deleted 3 conversations, 6 messages and 3 answer records of {held.user_id};"
        " 1 conversation on legal hold stayed\n"
    )
    assert await left(sql) == {held.id}
    assert await sql.fetchval("select count(*) from messages") == 2
    assert main([*erasing, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["held"] == 1
    await sql.execute("delete from legal_hold")
    assert main(erasing) == 0
    assert "stayed" not in capsys.readouterr().out
    assert await left(sql) == set()
