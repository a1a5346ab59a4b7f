"""Limits when two statements meet: one holds its transaction open, and the other waits for it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.queries import Chat, Connection, blocked, meet, run


def limits(chat: Chat, address: str | None = None, most: int = 1) -> str:
    """The limits per hour for the user, and for the address if there is one."""
    subjects = {"sends_per_user": str(chat.user_id), "sends_per_address": address}
    rate = {"every": f"{3600 / most:f} s", "period": "3600 s"}
    return json.dumps([{"name": name, "subject": who, **rate} for name, who in subjects.items() if who])


@pytest.fixture
async def chats(sql: Connection) -> list[Chat]:
    """Three empty conversations of one user, and one of another."""
    mine = [await Chat().open(sql)]
    mine += [await Chat(user_id=mine[0].user_id).open(sql) for _ in range(2)]
    return [*mine, await Chat().open(sql)]


async def used(sql: Connection) -> dict[str, int]:
    """How much of its hourly allowance each subject has used, in thirds."""
    rows = await sql.fetch(
        "select subject, round(extract(epoch from full_at - now()) / extract(epoch from every)) as count"
        " from allowances"
    )
    return {row["subject"]: int(row["count"]) for row in rows}


async def test_the_last_of_an_allowance_goes_to_one(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    one, other, *_ = chats
    await one.begin(first, limits=limits(one))
    row = await meet(sql, first, second, other.start(second, limits=limits(other)))
    assert row is not None
    assert (row["outcome"], row["limited_by"]) == ("limited", "sends_per_user")
    assert 3590 < row["seconds_to_wait"] <= 3600
    assert await other.texts(sql) == []
    assert await used(sql) == {str(one.user_id): 1}


async def test_the_other_gets_it_when_the_first_is_taken_back(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    one, other, *_ = chats
    await one.begin(first, limits=limits(one))
    row = await meet(sql, first, second, other.start(second, limits=limits(other)), end="rollback")
    assert row is not None
    assert row["outcome"] == "started"
    assert await used(sql) == {str(one.user_id): 1}


async def test_the_first_of_an_address_goes_to_one_whoever_the_users_are(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    one, *_, stranger = chats
    await one.begin(first, limits=limits(one, "192.0.2.1"))
    row = await meet(sql, first, second, stranger.start(second, limits=limits(stranger, "192.0.2.1")))
    assert row is not None
    assert (row["outcome"], row["limited_by"]) == ("limited", "sends_per_address")
    assert await used(sql) == {str(one.user_id): 1, "192.0.2.1": 1}, "and nothing of the other user's"


async def test_the_last_place_goes_to_one(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    busy, one, other, stranger = chats
    await busy.begin(sql, max_running=2)
    await one.begin(first, max_running=2)
    row = await meet(sql, first, second, other.start(second, max_running=2))
    assert row is not None
    assert (row["outcome"], row["limited_by"], row["seconds_to_wait"]) == (
        "limited",
        "max_answers_per_user",
        None,
    )
    assert await other.texts(sql) == []
    await stranger.begin(sql, max_running=2)
    assert await sql.fetchval("select count(*) from allowances") == 0


@pytest.mark.parametrize("asked", [{"max_running": 1}, {"limits": 1}, {"limits": 3}], ids=str)
@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_retry_that_meets_its_first_is_neither_refused_nor_counted(
    sql: Connection,
    first: Connection,
    second: Connection,
    chats: list[Chat],
    asked: dict[str, int],
    has_ended: bool,
) -> None:
    one = chats[0]
    given: dict[str, Any] = {"idempotency_key": "k", **asked}
    if "limits" in asked:
        given["limits"] = limits(one, most=asked["limits"])
    begun = await one.begin(first, **given)
    if has_ended:
        await one.finish(first, begun)
    row = await meet(sql, first, second, one.start(second, **given))
    assert row is not None
    assert row["outcome"] == "crowded"
    row = await one.start(second, **given)
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("existed", begun)
    assert await used(sql) == ({str(one.user_id): 1} if "limits" in asked else {})


async def test_another_message_that_meets_the_first_counts_nothing(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    one = chats[0]
    begun = await one.begin(first, limits=limits(one, most=3))
    row = await meet(sql, first, second, one.start(second, limits=limits(one, most=3), content="another"))
    assert row is not None
    assert row["outcome"] == "crowded"
    row = await one.start(second, limits=limits(one, most=3), content="another")
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("running", begun)
    assert await used(sql) == {str(one.user_id): 1}


async def test_a_refusal_writes_nothing_and_waits_for_nobody(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    one, other, third, _ = chats
    await one.begin(sql, limits=limits(one))
    before = await sql.fetch("select xmin, ctid, * from allowances")
    # Another transaction holds this user's locks, as a message does while it is stored.
    await first.execute(
        "select pg_advisory_xact_lock(hashtext('chat sends_per_user'), hashtext($1))", str(one.user_id)
    )
    async with asyncio.timeout(5):
        for chat in (other, third):
            row = await chat.start(second, limits=limits(chat))
            assert row is not None
            assert row["outcome"] == "limited"
    assert await sql.fetch("select xmin, ctid, * from allowances") == before


async def test_who_waits_for_a_conversation_keeps_nobody_of_his_address_waiting(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    """As when a large conversation is being deleted."""
    mine, others = chats[0], chats[-1]
    await first.execute("select from conversations where id = $1 for update", mine.id)
    waiting = asyncio.create_task(mine.start(second, limits=limits(mine, "203.0.113.9", 3)))
    await blocked(sql, second.get_server_pid())
    async with asyncio.timeout(5):
        await others.begin(sql, limits=limits(others, "203.0.113.9", 3))
    await first.execute("rollback")
    row = await waiting
    assert row is not None
    assert row["outcome"] == "started"


async def test_pruning_leaves_what_still_counts(sql: Connection, chats: list[Chat]) -> None:
    one = chats[0]
    await one.begin(sql, limits=limits(one, "192.0.2.1"))
    await sql.execute(
        "update allowances set full_at = now() - interval '1 ms' where name = 'sends_per_address'"
    )
    (row,) = await run(sql, "limits.prune", max_rows=10)
    assert row["pruned"] == 1
    assert await used(sql) == {str(one.user_id): 1}


async def test_it_counts_with_its_owners_rights_and_eyes(
    sql: Connection, second: Connection, chats: list[Chat]
) -> None:
    """For a role that may not write allowances, and sees one conversation at a time (row-level security)."""
    one, other, *_ = chats
    role = f"limited_{one.id.hex}"
    await sql.execute(
        f"create role {role};"
        "grant select, insert, update, delete"
        " on conversations, messages, inactive_messages, queued_messages, generations"
        f" to {role};"
        f"grant usage on schema public to {role};"
        f"grant select on budgets to {role};"
        f"grant execute on function chat_afford(uuid, uuid, varchar, varchar) to {role};"
        f"grant update on chat_position to {role};"
        f"grant execute on function chat_admit(uuid, uuid, varchar, integer, json) to {role};"
        "alter table generations enable row level security;"
        f"create policy one on generations to {role} using (conversation_id = '{other.id}') with check (true)"
    )
    try:
        await one.begin(sql, limits=limits(one, most=3), max_running=1)
        await second.execute(f"set role {role}")
        assert await second.fetchval("select count(*) from generations") == 0
        row = await other.start(second, limits=limits(other, most=3), max_running=1)
        assert row is not None
        assert (row["outcome"], row["limited_by"]) == ("limited", "max_answers_per_user")
        await other.begin(second, limits=limits(other, most=3), max_running=2)
        assert await used(sql) == {str(one.user_id): 2}
    finally:
        await second.execute("reset role")
        await sql.execute(f"drop policy one on generations; drop owned by {role}; drop role {role}")
