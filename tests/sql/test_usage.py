"""Usage: one row for every run of a model, whatever ended it, outliving the conversation (promise 11)."""

from __future__ import annotations

import json
from decimal import Decimal
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.sql.test_bring_in import bring_in
from tests.support.queries import Chat, Connection, kill_workers, meet, one, run

PRICE = {"currency": "EUR", "prompt": 2.0, "cached": 0.5, "completion": 8.0}
PRICES = json.dumps({"default": {"model": "qwen", "price": PRICE}})
COUNTED = json.dumps(
    {"prompt_tokens": 1000, "completion_tokens": 300, "reasoning_tokens": 100, "cached_tokens": 400}
)
TRIES = json.dumps(
    [
        {"server": "near", "outcome": "inference_unavailable", "milliseconds": 1},
        {"server": "spare", "outcome": "answered", "milliseconds": 9},
    ]
)


async def usage(sql: Connection) -> list[asyncpg.Record]:
    return await sql.fetch("select * from usage order by id")


async def only(sql: Connection) -> asyncpg.Record:
    [row] = await usage(sql)
    return row


async def test_it_has_what_the_server_counted_and_what_that_cost(sql: Connection) -> None:
    chat = await Chat().open(sql)
    begun = await chat.begin(sql, prices=PRICES)
    await chat.finish(sql, begun, usage=COUNTED, tries=TRIES)
    row = await only(sql)
    shown = {name: value for name, value in row.items() if not name.endswith("_at") and name != "day"}
    assert json.loads(shown.pop("price")) == PRICE
    assert shown == {
        "id": begun,
        "user_id": chat.user_id,
        "conversation_id": chat.id,
        "kind": "send",
        "model_tag": "qwen",
        "server": "spare",
        "status": "completed",
        "error_code": None,
        "prompt_tokens": 1000,
        "cached_tokens": 400,
        "reasoning_tokens": 100,
        "completion_tokens": 300,
        "is_estimated": False,
        "milliseconds": 40,
        "cost": Decimal("0.0038"),  # 600 at 2.0, 400 at 0.5, 300 at 8.0 a million
        "currency": "EUR",
    }
    assert await sql.fetchval(
        "select started_at <= ended_at and day = (now() at time zone 'utc')::date from usage"
    )


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        (None, (3, 2, True)),
        ('{"prompt_tokens": 7, "completion_tokens": null}', (7, 2, True)),
        ('{"prompt_tokens": null, "completion_tokens": 5}', (3, 5, True)),
        ('{"prompt_tokens": 7, "completion_tokens": 0}', (7, 0, False)),
        ('{"prompt_tokens": 1e30, "completion_tokens": -5}', (2**31 - 1, 0, False)),
        ('{"prompt_tokens": "7", "completion_tokens": {}}', (3, 2, True)),
    ],
)
async def test_what_the_server_does_not_say_is_estimated_and_marked(
    sql: Connection, counted: str | None, expected: tuple[int, int, bool]
) -> None:
    chat = await Chat().open(sql)
    begun = await chat.begin(sql, content="नमस्ते"[:3])  # nine bytes
    await chat.finish(sql, begun, usage=counted)
    row = await only(sql)
    assert (row["prompt_tokens"], row["completion_tokens"], row["is_estimated"]) == expected


async def test_the_estimate_is_of_all_that_the_model_is_sent(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await chat.say(sql, "user", "x" * 400)
    await chat.say(sql, "assistant", "y" * 400)
    await chat.finish(sql, await chat.begin(sql, content="z" * 40))
    assert (await only(sql))["prompt_tokens"] == 210
    await sql.execute("truncate usage")
    await chat.finish(sql, await chat.begin(sql, content="z" * 40, max_characters=100))
    assert (await only(sql))["prompt_tokens"] == 23, "what is left out isn't sent"


TOOLS = json.dumps({"tools": [{"type": "function", "function": {"name": "x" * 500}}]})
BYTES = '{"default": 40, "qwen": 80}'


@pytest.mark.parametrize(
    ("conversation", "asked", "expected"),
    [
        ({"instructions": "ਸ" * 100}, {}, 10 + 75),
        ({"instructions": "ਸ" * 100}, {"instruction_bytes": BYTES}, 10 + 75),
        ({}, {"instruction_bytes": BYTES}, 10 + 10),
        ({"model_tag": "qwen"}, {"instruction_bytes": BYTES}, 10 + 20),
        ({"model_tag": "any"}, {"instruction_bytes": '{"": 40}'}, 10 + 10),
        ({}, {"options": TOOLS}, 10 + (len(TOOLS) - len('{"tools": }')) // 4),
    ],
    ids=["own instructions", "in place of others", "of the default", "of the model", "of all", "tools"],
)
async def test_the_estimate_has_the_instructions_and_the_tools(
    sql: Connection, conversation: dict[str, str], asked: dict[str, str], expected: int
) -> None:
    chat = await Chat().open(sql)
    for column, value in conversation.items():
        await sql.execute(f"update conversations set {column} = $1", value)
    await chat.begin(sql, content="z" * 40, **asked)
    assert await sql.fetchval("select prompt_estimate from generations") == expected


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        ("completed", 2, ("completed", 2, 2)),
        ("stopped", 2, ("stopped", 2, 2)),
        ("stopped", 0, ("stopped", 2, 0)),
        ("interrupted", 2, ("interrupted", 2, 2)),
        ("failed", 2, ("failed", 2, 2)),
        ("failed", 0, ("failed", 0, 0)),  # nobody knows that the model read anything
    ],
)
async def test_whatever_ends_an_answer_leaves_its_row(
    sql: Connection, status: str, said: int, expected: tuple[str, int, int]
) -> None:
    chat = await Chat().open(sql)
    begun = await chat.begin(sql)
    for _ in range(2):  # repeated, as when the confirmation is lost
        await chat.finish(
            sql,
            begun,
            status=status,
            content="x" if said else "",
            token_count=said,
            error_code="inference_broken",
        )
    row = await only(sql)
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"]) == expected
    assert row["error_code"] == "inference_broken"


async def test_a_dead_workers_answer_leaves_its_row_with_what_the_journal_had(sql: Connection) -> None:
    chat = await Chat().open(sql)
    begun = await chat.begin(sql, prices=PRICES)
    await chat.speak(sql, (begun, 0, [{}, {"token": "a"}, {"token": "b"}]))
    await kill_workers(sql)
    for _ in range(2):
        await run(sql, "maintenance.interrupt_orphans")
    row = await only(sql)
    assert (row["id"], row["status"], row["error_code"]) == (begun, "interrupted", "worker_lost")
    assert (row["prompt_tokens"], row["completion_tokens"], row["is_estimated"]) == (2, 2, True)
    assert row["cost"] == Decimal("0.00002")


async def test_what_a_living_worker_brings_in_takes_the_place_of_what_the_sweep_noted(
    sql: Connection,
) -> None:
    chat = await Chat().open(sql)
    row = await chat.start(sql, prices=PRICES)
    assert row is not None
    await chat.speak(sql, (row["generation_id"], 0, [{}, {"token": "so far"}]))
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    for _ in range(2):
        await bring_in(sql, chat, row["generation_id"], row["user_message_id"], usage=COUNTED, tries=TRIES)
    noted = await only(sql)
    assert (noted["status"], noted["server"], noted["completion_tokens"]) == ("completed", "spare", 300)
    assert noted["cost"] == Decimal("0.0038")


async def test_an_answer_that_a_failover_lost_is_noted_when_it_is_brought_in(sql: Connection) -> None:
    chat = await Chat().open(sql)
    lost, question = uuid4(), uuid4()
    billed = json.dumps({"model": "qwen", "price": PRICE, "prompt_estimate": 9, "max_tokens": 512})
    for _ in range(2):
        await bring_in(sql, chat, lost, question, usage=COUNTED, tries=TRIES, billed=billed)
    row = await only(sql)
    assert (row["id"], row["user_id"], row["model_tag"], row["server"]) == (
        lost,
        chat.user_id,
        "qwen",
        "spare",
    )
    assert (row["completion_tokens"], row["cost"]) == (300, Decimal("0.0038"))
    stored = await sql.fetchrow("select * from generations where id = $1", lost)
    assert (stored["holder_id"], stored["model_tag"]) == (chat.user_id, "qwen")


async def test_a_deletion_while_it_is_written_leaves_its_row_and_the_worker_corrects_it(
    sql: Connection,
) -> None:
    chat = await Chat().open(sql)
    begun = await chat.begin(sql, prices=PRICES)
    await run(sql, "conversations.delete", id=chat.id, user_id=chat.user_id)
    row = await only(sql)
    assert (row["id"], row["user_id"], row["status"], row["model_tag"]) == (
        begun,
        chat.user_id,
        "stopped",
        "qwen",
    )
    said = {"usage": COUNTED, "tries": TRIES, "token_count": 300, "milliseconds": 70}
    for _ in range(2):
        await run(sql, "usage.correct", generation_id=begun, **said)
    row = await only(sql)
    assert (row["completion_tokens"], row["server"], row["milliseconds"]) == (300, "spare", 70)
    assert row["cost"] == Decimal("0.0038")
    assert await run(sql, "usage.correct", generation_id=uuid4(), **said) == []


async def test_it_outlives_all_that_deletes_conversations(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await chat.finish(sql, await chat.begin(sql))
    again = await chat.begin(sql, kind="regenerate")
    await chat.finish(sql, again)
    before = await usage(sql)
    assert len(before) == 2
    await run(sql, "conversations.delete", id=chat.id, user_id=chat.user_id)
    assert await sql.fetchval("select count(*) from generations") == 0
    assert await usage(sql) == before


async def test_erasing_a_user_leaves_the_sums_without_the_user(sql: Connection) -> None:
    mine, theirs = await Chat().open(sql), await Chat().open(sql)
    for chat in (mine, mine, theirs):
        await chat.finish(sql, await chat.begin(sql), usage=COUNTED)
    await sql.execute(
        "insert into budgets (scope, user_id, period, unit, amount) values ('user', $1, 'day', 'tokens', 9)",
        mine.user_id,
    )
    for expected in (1, 1, 0):
        row = await one(sql, "usage.forget", user_id=mine.user_id, max_rows=1)
        assert row is not None
        assert row["forgotten"] == expected
    left = await usage(sql)
    assert sorted(map(str, (row["user_id"] for row in left))) == sorted(
        map(str, (None, None, theirs.user_id))
    )
    assert {row["conversation_id"] for row in left} == {None, theirs.id}
    assert sum(row["completion_tokens"] for row in left) == 900
    assert await sql.fetchval("select count(*) from budgets") == 0


@pytest.mark.parametrize("subject", ["user_id", "conversation_id"])
async def test_erasing_leaves_what_is_on_legal_hold(sql: Connection, subject: str) -> None:
    held = await Chat().open(sql)
    other = await Chat(user_id=held.user_id).open(sql)
    for chat in (held, other):
        await chat.finish(sql, await chat.begin(sql), usage=COUNTED)
    running = await held.begin(sql)
    await sql.execute(
        "insert into budgets (scope, user_id, period, unit, amount) values ('user', $1, 'day', 'tokens', 9)",
        held.user_id,
    )
    await sql.execute(
        f"insert into legal_hold ({subject}, reason) values ($1, 'file 17')",
        held.user_id if subject == "user_id" else held.id,
    )
    row = await one(sql, "usage.forget", user_id=held.user_id, max_rows=100)
    assert row is not None
    is_everything = subject == "user_id"
    assert row["forgotten"] == (0 if is_everything else 1)
    await held.finish(sql, running, usage=COUNTED)
    of_user = [row for row in await usage(sql) if row["user_id"] == held.user_id]
    assert {row["conversation_id"] for row in of_user} == (
        {held.id, other.id} if is_everything else {held.id}
    )
    assert len(of_user) == (3 if is_everything else 2)
    assert await sql.fetchval("select count(*) from budgets") == is_everything


async def test_a_release_without_it_leaves_rows_too(sql: Connection) -> None:
    """An older worker stores neither the user nor the model with the answer."""
    chat = await Chat().open(sql)
    begun = await chat.begin(sql)
    await sql.execute("update generations set holder_id = null, model_tag = null, prompt_estimate = null")
    await chat.finish(sql, begun)
    row = await only(sql)
    assert (row["user_id"], row["model_tag"], row["prompt_tokens"]) == (chat.user_id, "default", 0)


async def test_a_dbas_own_end_of_an_answer_leaves_its_row(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await chat.begin(sql)
    await sql.execute("update generations set status = 'stopped', finished_at = now()")
    assert (await only(sql))["status"] == "stopped"


async def test_an_attempt_that_is_tried_again_has_a_row_of_its_own(sql: Connection) -> None:
    chat = await Chat().open(sql)
    first = await chat.begin(sql, idempotency_key="k")
    await chat.finish(
        sql, first, status="failed", content="", token_count=0, error_code="inference_unavailable"
    )
    second = await chat.begin(sql, idempotency_key="k", prices=PRICES)
    await chat.finish(sql, second)
    assert {row["id"]: (row["status"], row["model_tag"]) for row in await usage(sql)} == {
        first: ("failed", "default"),
        second: ("completed", "qwen"),
    }


async def test_own_columns_of_a_dba_are_in_nobodys_way(sql: Connection) -> None:
    await sql.execute("alter table usage add column site text not null default 'x'")
    await sql.execute("alter table budgets add column note text not null default 'y'")
    await sql.execute(
        "insert into budgets (scope, period, unit, amount) values ('each', 'day', 'tokens', 9999)"
    )
    chat = await Chat().open(sql)
    begun = await chat.begin(sql)
    await chat.finish(sql, begun)
    assert (await only(sql))["site"] == "x"
    row = await one(sql, "usage.of_user", user_id=chat.user_id, first_day=None, last_day=None)
    assert row is not None
    assert len(json.loads(row["budgets"])) == 1


async def test_two_ends_that_meet_leave_one_row(
    sql: Connection, first: Connection, second: Connection
) -> None:
    """A worker's own end, and a deletion of the conversation."""
    chat = await Chat().open(sql)
    begun = await chat.begin(sql)
    await chat.finish(first, begun, usage=COUNTED)
    deletion = one(second, "conversations.delete", id=chat.id, user_id=chat.user_id)
    await meet(sql, first, second, deletion)
    assert (await only(sql))["completion_tokens"] == 300


async def months(sql: Connection, users: int, days: int) -> list[UUID]:
    """Some users' usage, an answer a day of each; returns the users."""
    ids = [uuid4() for _ in range(users)]
    await sql.execute(
        "insert into usage (id, user_id, kind, model_tag, status, started_at, day, prompt_tokens,"
        " cached_tokens, reasoning_tokens, completion_tokens, is_estimated, milliseconds)"
        " select gen_random_uuid(), u.id, 'send', 'qwen', 'completed', now(),"
        " (now() at time zone 'utc')::date - d.day, 10, 0, 0, 10, false, 1"
        " from generate_series($2::integer - 1, 0, -1) as d (day) cross join unnest($1::uuid[]) as u (id)",
        ids,
        days,
    )
    await sql.execute("analyze usage")
    return ids


REPORT = (
    "select day, model_tag, sum(prompt_tokens) from usage where day >= (now() at time zone 'utc')::date - 29"
    " group by day, model_tag"
)


@pytest.mark.parametrize("report", ["month", "user"])
async def test_a_months_report_reads_as_much_however_long_the_table_is(sql: Connection, report: str) -> None:
    async def buffers() -> int:
        text = REPORT if report == "month" else REPORT.replace("where", f"where user_id = '{users[0]}' and")
        [plan] = json.loads(await sql.fetchval(f"explain (analyze, buffers, format json) {text}"))
        return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])

    users = await months(sql, 50, 60)
    await sql.execute("vacuum usage")
    short = await buffers()
    await sql.execute(
        "insert into usage select (jsonb_populate_record(u, jsonb_build_object('id', gen_random_uuid(),"
        " 'day', u.day - 60 * n))).* from usage as u cross join generate_series(1, 11) as n"
    )
    await sql.execute("vacuum analyze usage")
    assert await buffers() <= 1.5 * short + 5
