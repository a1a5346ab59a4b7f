"""The views of chat_report: the promised columns, what they say, what they leave out, and what they cost."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.queries import Chat, Connection, kill_workers, run, tick

# View → version and columns: a promise to the reports that DBAs write. A column may be added at the end. If
# one goes or changes its meaning, the version counts up, here and in the view's comment, and CHANGELOG.md
# says so.
PROMISED = {
    "budgets": (
        1,
        {
            "budget_id": "uuid",
            "scope": "text",
            "user_id": "uuid",
            "model": "text",
            "period": "text",
            "unit": "text",
            "currency": "text",
            "amount": "numeric",
            "spent": "numeric",
            "amount_left": "numeric",
        },
    ),
    "conversation_sizes": (
        1,
        {
            "conversation_id": "uuid",
            "owner_id": "uuid",
            "updated_at": "timestamp with time zone",
            "messages": "bigint",
            "inactive_messages": "bigint",
            "bytes": "bigint",
        },
    ),
    "failures": (1, {"day": "date", "model": "text", "error_code": "text", "answers": "bigint"}),
    "limits": (
        1,
        {
            "limit_name": "text",
            "subject": "text",
            "allowed": "integer",
            "period": "interval",
            "left_now": "integer",
            "full_at": "timestamp with time zone",
        },
    ),
    "running_answers": (
        1,
        {
            "generation_id": "uuid",
            "conversation_id": "uuid",
            "owner_id": "uuid",
            "model": "text",
            "kind": "text",
            "started_at": "timestamp with time zone",
            "seconds_running": "integer",
            "worker_id": "uuid",
            "lease_seconds_left": "integer",
            "seconds_since_tick": "integer",
            "events_written": "integer",
            "stop_requested_at": "timestamp with time zone",
            "is_stuck": "boolean",
        },
    ),
    "table_health": (
        1,
        {
            "table_name": "text",
            "partition_of": "text",
            "live_rows": "bigint",
            "dead_rows": "bigint",
            "table_bytes": "bigint",
            "index_bytes": "bigint",
            "last_vacuum": "timestamp with time zone",
            "last_autovacuum": "timestamp with time zone",
            "last_autoanalyze": "timestamp with time zone",
            "autovacuums": "bigint",
        },
    ),
    "usage": (
        1,
        {
            "day": "date",
            "user_id": "uuid",
            "model": "text",
            "server": "text",
            "runs": "bigint",
            "answers": "bigint",
            "failures": "bigint",
            "prompt_tokens": "bigint",
            "cached_tokens": "bigint",
            "completion_tokens": "bigint",
            "reasoning_tokens": "bigint",
            "estimated_runs": "bigint",
            "milliseconds": "numeric",
            "cost": "numeric",
            "currency": "text",
        },
    ),
}

SECRET = "hunter2"


async def test_each_view_keeps_its_promised_columns(sql: Connection) -> None:
    views = await sql.fetch(
        "select oid, relname, obj_description(oid, 'pg_class') as comment from pg_class"
        " where relnamespace = 'chat_report'::regnamespace"
    )
    found = {}
    for view in views:
        version = re.match(r"v(\d+): ", view["comment"])
        assert version, f"the comment on {view['relname']} begins with no version"
        columns = await sql.fetch(
            "select attname, format_type(atttypid, atttypmod) as type from pg_attribute"
            " where attrelid = $1 and attnum > 0 order by attnum",
            view["oid"],
        )
        found[view["relname"]] = (int(version[1]), {row["attname"]: row["type"] for row in columns})
    assert found == PROMISED
    for view, (_, columns) in PROMISED.items():
        assert list(found[view][1]) == list(columns)


def test_whoever_may_read_the_reports_may_read_a_view_that_comes_later(checkout: Path) -> None:
    """Each migration that makes a view ends with the grants."""
    made = [
        path
        for path in (checkout / "migrations").glob("*.sql")
        if re.search(r"^create (?:or replace )?view chat_report\.", path.read_text(), re.MULTILINE)
        and not path.name.endswith(".rollback.sql")
    ]
    assert made
    grants = "perform chat_grant_reader(reader) from chat_readers() as reader;"
    assert [path.name for path in made if grants not in path.read_text()] == []


async def full_of_secrets(sql: Connection) -> Chat:
    """A conversation whose texts all hold the secret, with something for each view to show."""
    chat = await Chat().open(sql, SECRET)
    await sql.execute(
        "update conversations set instructions = $1, options = to_json($1::varchar), model_tag = 'd20'",
        SECRET,
    )
    for kind in ("send", "regenerate"):
        begun = await chat.begin(
            sql, kind=kind, idempotency_key=SECRET + kind, options=json.dumps({"tools": [SECRET]}),
            limits=json.dumps(
                [{"name": "sends_per_user", "subject": str(chat.user_id), "every": "2 s", "period": "60 s"}]
            ),
            **({"content": SECRET} if kind == "send" else {}),
        )  # fmt: skip
        await chat.speak(sql, (begun, 0, [{"token": SECRET}]))
        await chat.finish(
            sql, begun, status="failed", finish_reason="error", error_code="inference_failed", content=SECRET,
            reasoning=SECRET, tool_calls=json.dumps([SECRET]), tries=json.dumps([{"server": "near"}]),
        )  # fmt: skip
    await chat.speak(sql, (await chat.begin(sql, content=SECRET), 0, [{"token": SECRET}]))
    await sql.execute("insert into budgets (scope, period, unit, amount) values ('each', 'day', 'tokens', 9)")
    await chat.queue(sql, SECRET, request=json.dumps({"tools": [SECRET]}), idempotency_key=SECRET)
    return chat


async def test_no_view_shows_any_text(sql: Connection) -> None:
    await full_of_secrets(sql)
    await sql.execute("analyze")
    for view in PROMISED:
        rows = await sql.fetch(f"select v::text as row from chat_report.{view} as v")
        assert rows, view
        assert [row["row"] for row in rows if SECRET in row["row"]] == [], view


async def test_a_running_answer_is_shown_with_its_worker_and_how_far_it_has_come(sql: Connection) -> None:
    chat = await Chat().open(sql)
    running = await chat.begin(sql)
    await chat.speak(sql, (running, 0, [{}, {}, {}]))
    await sql.execute("update generations set started_at = now() - interval '90 seconds'")
    row = await sql.fetchrow("select * from chat_report.running_answers")
    assert row is not None
    assert (row["generation_id"], row["conversation_id"]) == (running, chat.id)
    assert (row["owner_id"], row["worker_id"]) == (chat.user_id, chat.worker_id)
    assert (row["model"], row["kind"], row["events_written"]) == ("default", "send", 3)
    assert 90 <= row["seconds_running"] < 100
    assert 50 < row["lease_seconds_left"] <= 60
    assert 0 <= row["seconds_since_tick"] < 10
    assert (row["stop_requested_at"], row["is_stuck"]) == (None, False)


@pytest.mark.parametrize(
    ("lease", "is_stuck"),
    [
        ("lease_until = now() - interval '1 second'", True),
        ("lease_until = now() + lease * 3", True),  # its clock jumped: nobody takes it for alive
        ("lease_until = now() + lease / 2", False),
    ],
)
async def test_an_answer_whose_worker_has_no_lease_that_holds_is_stuck(
    sql: Connection, lease: str, is_stuck: bool
) -> None:
    chat = await Chat().open(sql)
    await chat.speak(sql, (await chat.begin(sql), 0, [{}]))
    await sql.execute(f"update workers set {lease}")
    assert await sql.fetchval("select is_stuck from chat_report.running_answers") == is_stuck


async def test_an_answer_whose_worker_has_left_is_stuck_until_another_ends_it(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await chat.speak(sql, (await chat.begin(sql), 0, [{}]))
    await kill_workers(sql)
    row = await sql.fetchrow("select is_stuck, lease_seconds_left from chat_report.running_answers")
    assert row is not None
    assert (row["is_stuck"], row["lease_seconds_left"]) == (True, None)
    await run(sql, "maintenance.interrupt_orphans")
    assert await sql.fetch("select from chat_report.running_answers") == []
    assert await sql.fetchval("select error_code from chat_report.failures") == "worker_lost"


async def failed(sql: Connection, chat: Chat, days_ago: int, code: str | None, count: int) -> None:
    """Store answers of that day in UTC: the first at its beginning, the last just before its end."""
    await sql.execute(
        "insert into generations (id, conversation_id, kind, user_message_id, worker_id, status, finished_at,"
        " error_code)"
        " select (left(chat_uuid7_at(day + n * interval '86399.999 s' / greatest($4, 1))::text, 18)"
        " || substr(gen_random_uuid()::text, 19))::uuid, $1, 'send', gen_random_uuid(), gen_random_uuid(),"
        " 'failed', now(), $3"
        " from generate_series(0, $4) as n"
        " cross join (select (date_trunc('day', now() at time zone 'utc') - make_interval(days => $2))"
        " at time zone 'utc' as day) as d",
        chat.id,
        days_ago,
        code,
        count - 1,
    )


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
async def test_failures_are_counted_by_day_of_utc_model_and_code(sql: Connection, zone: str) -> None:
    await sql.execute(f"set timezone = '{zone}'")
    chat, other = await Chat().open(sql), await Chat().open(sql)
    await sql.execute("update conversations set model_tag = 'big' where id = $1", other.id)
    await failed(sql, chat, 40, "worker_lost", 2)
    await failed(sql, chat, 0, "worker_lost", 1)
    await failed(sql, chat, 1, "inference_failed", 3)
    await failed(sql, other, 1, "inference_failed", 4)
    await failed(sql, chat, 1, "answer_empty", 5)
    await failed(sql, chat, 1, None, 6)
    rows = await sql.fetch(
        "select (now() at time zone 'utc')::date - day as ago, model, error_code, answers"
        " from chat_report.failures order by 1, 2, 3"
    )
    assert [tuple(row) for row in rows] == [
        (0, "default", "worker_lost", 1),
        (1, "big", "inference_failed", 4),
        (1, "default", "answer_empty", 5),
        (1, "default", "inference_failed", 3),
        (40, "default", "worker_lost", 2),
    ]


async def buffers(sql: Connection, query: str) -> int:
    """The pages that a query touches."""
    found = await sql.fetchval(f"explain (analyze, buffers, format json) {query}")
    plan = json.loads(found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_a_day_of_failures_costs_the_pages_of_that_day(sql: Connection) -> None:
    chat = await Chat().open(sql)
    for days_ago in range(60):
        await failed(sql, chat, days_ago, "inference_failed", 200)
    await sql.execute("vacuum analyze generations")
    every = await buffers(sql, "select * from chat_report.failures")
    for condition in ("day = current_date - 5", "day >= current_date - 1"):
        assert await buffers(sql, f"select * from chat_report.failures where {condition}") < every / 8


async def test_running_answers_cost_no_more_in_a_long_history(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await chat.speak(sql, (await chat.begin(sql), 0, [{}]))
    query = "select * from chat_report.running_answers"
    await sql.execute("vacuum analyze")
    before = await buffers(sql, query)
    for days_ago in range(1, 60):
        await failed(sql, chat, days_ago, None, 200)
    await sql.execute("vacuum analyze")
    assert await buffers(sql, query) <= before + 10


async def test_a_users_conversations_are_measured_without_reading_the_others(sql: Connection) -> None:
    mine = await Chat().open(sql)
    await mine.say(sql, "user", "a" * 100)
    await sql.execute(
        "with c as (insert into conversations (user_id) select gen_random_uuid()"
        " from generate_series(1, 2000) returning id)"
        " insert into messages (conversation_id, role, content)"
        " select id, 'user', 'other' from c cross join generate_series(1, 10)"
    )
    await sql.execute("vacuum analyze")
    query = "select * from chat_report.conversation_sizes"
    assert await buffers(sql, f"{query} where owner_id = '{mine.user_id}'") < 20
    assert await buffers(sql, f"{query} where conversation_id = '{mine.id}'") < 20
    assert await buffers(sql, query) > 1000
    row = await sql.fetchrow(f"{query} order by bytes desc limit 1")
    assert row is not None
    assert (row["conversation_id"], row["owner_id"]) == (mine.id, mine.user_id)
    assert (row["messages"], row["inactive_messages"]) == (1, 0)
    assert 100 <= row["bytes"] <= 110


async def test_versions_count_as_inactive_messages(sql: Connection) -> None:
    chat = await Chat().open(sql)
    for kind in ("send", "regenerate", "regenerate", "regenerate"):
        await chat.finish(sql, await chat.begin(sql, kind=kind))
    row = await sql.fetchrow("select * from chat_report.conversation_sizes")
    assert row is not None
    assert (row["messages"], row["inactive_messages"]) == (2, 3)


async def test_every_table_of_the_service_is_watched_and_no_other(sql: Connection) -> None:
    await sql.execute("create table users (id uuid primary key)")
    await sql.execute(
        "insert into workers (id, lease_until) select gen_random_uuid(), now() from generate_series(1, 9)"
    )
    await sql.execute("delete from workers; select pg_stat_force_next_flush()")
    await sql.execute("vacuum conversations")
    rows = {row["table_name"]: row for row in await sql.fetch("select * from chat_report.table_health")}
    tables = await sql.fetch(
        "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"
        " and relname !~ 'yoyo' and relname <> 'users'"
    )
    assert rows.keys() == {row["relname"] for row in tables}
    assert rows["workers"]["dead_rows"] == 9
    assert (rows["workers"]["last_vacuum"], rows["workers"]["partition_of"]) == (None, None)
    assert rows["conversations"]["last_vacuum"] is not None
    assert rows["workers"]["table_bytes"] >= 8192
    assert rows["workers"]["index_bytes"] >= 16384


async def test_a_limit_shows_what_is_left_of_it_as_the_next_message_will_find_it(sql: Connection) -> None:
    chat = await Chat().open(sql)
    limit: dict[str, Any] = {"name": "sends_per_user", "subject": str(chat.user_id)}
    limits = json.dumps([{**limit, "every": "20 s", "period": "60 s"}])
    for left in (2, 1, 0):
        await chat.finish(sql, await chat.begin(sql, limits=limits))
        row = await sql.fetchrow("select * from chat_report.limits")
        assert row is not None
        assert (row["limit_name"], row["subject"]) == ("sends_per_user", str(chat.user_id))
        assert (row["allowed"], row["left_now"]) == (3, left)
    refused = await chat.start(sql, limits=limits)
    assert refused is not None
    assert refused["outcome"] != "started"
    await sql.execute("update allowances set full_at = now() - interval '1 day'")
    assert await sql.fetchval("select left_now from chat_report.limits") == 3


async def test_a_worker_without_an_answer_is_not_in_the_way(sql: Connection) -> None:
    await tick(sql, Chat().worker_id)
    assert await sql.fetch("select from chat_report.running_answers") == []


async def test_usage_is_summed_up_by_day_user_model_and_server(sql: Connection) -> None:
    mine, theirs = await Chat().open(sql), await Chat().open(sql)
    counted = json.dumps({"prompt_tokens": 10, "completion_tokens": 5})
    for chat in (mine, mine, theirs):
        begun = await chat.begin(sql)
        await chat.finish(sql, begun, usage=counted, tries='[{"server": "near"}]')
    begun = await mine.begin(sql)
    await mine.finish(
        sql, begun, status="failed", content="", token_count=0, error_code="inference_broken", tries=None
    )
    rows = await sql.fetch("select * from chat_report.usage where user_id = $1 order by server", mine.user_id)
    assert [
        (row["model"], row["server"], row["runs"], row["answers"], row["failures"], row["prompt_tokens"])
        for row in rows
    ] == [("default", "near", 2, 2, 0, 20), ("default", None, 1, 0, 1, 0)]
    assert await sql.fetchval("select sum(completion_tokens) from chat_report.usage") == 15


async def test_budgets_show_what_is_used_of_each(sql: Connection) -> None:
    mine, theirs, idle = await Chat().open(sql), await Chat().open(sql), await Chat().open(sql)
    await sql.execute(
        "insert into budgets (scope, period, unit, amount) values ('each', 'day', 'answers', 3)"
    )
    await sql.execute(
        "insert into budgets (scope, user_id, period, unit, amount) values ('user', $1, 'day', 'answers', 1)",
        theirs.user_id,
    )
    await sql.execute(
        "insert into budgets (scope, period, unit, amount) values ('everybody', 'week', 'tokens', 9)"
    )
    for chat in (mine, mine, theirs):
        await chat.finish(sql, await chat.begin(sql), usage='{"prompt_tokens": 1, "completion_tokens": 1}')
    rows = await sql.fetch(
        "select scope, user_id, spent, amount_left from chat_report.budgets order by scope"
    )
    assert [tuple(row) for row in rows] == [
        ("each", mine.user_id, 2, 1),
        ("everybody", None, 6, 3),
        ("user", theirs.user_id, 1, 0),
    ]
    assert idle.user_id not in {row["user_id"] for row in rows}
    await sql.execute("update spending set began = began - 40")
    spent = {row["spent"] for row in await sql.fetch("select spent from chat_report.budgets")}
    assert spent == {None}
