"""Budgets: held by the statement that starts an answer, whatever runs at the same moment."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from tests.sql.test_bring_in import bring_in
from tests.sql.test_usage import COUNTED, PRICES, months
from tests.support.queries import Chat, Connection, blocked, kill_workers, meet, one, run

BUDGET = {
    "scope": "each",
    "user_id": None,
    "model_tag": None,
    "period": "month",
    "unit": "tokens",
    "currency": None,
}


async def put(sql: Connection, amount: float | None, **changes: Any) -> UUID:
    row = await one(sql, "budgets.put", **{**BUDGET, "amount": amount, **changes})
    assert row is not None
    return UUID(str(row["id"]))


async def outcome(chat: Chat, connection: Connection, **changes: Any) -> str:
    """What becomes of a message: its outcome, or the scope of the budget that refuses it."""
    row = await chat.start(connection, **changes)
    assert row is not None
    if row["limited_by"] != "budget":
        return str(row["outcome"])
    assert row["outcome"] == "limited"
    return str(json.loads(row["budget"])["scope"])


async def answer(chat: Chat, sql: Connection, **changes: Any) -> None:
    """One answer: by default, of 1,300 tokens."""
    begun = await chat.begin(sql, prices=PRICES, **changes)
    await chat.finish(sql, begun, usage=COUNTED)


@pytest.fixture
async def chats(sql: Connection) -> list[Chat]:
    """Three empty conversations of one user, and one of another."""
    mine = [await Chat().open(sql)]
    mine += [await Chat(user_id=mine[0].user_id).open(sql) for _ in range(2)]
    return [*mine, await Chat().open(sql)]


@pytest.mark.parametrize(
    ("unit", "amount", "currency"), [("tokens", 2600, None), ("cost", 0.0076, "EUR"), ("answers", 2, None)]
)
@pytest.mark.parametrize("scope", ["each", "user", "everybody"])
async def test_what_is_used_up_refuses_further_answers(
    sql: Connection, chats: list[Chat], scope: str, unit: str, amount: float, currency: str | None
) -> None:
    mine, *_, stranger = chats
    whose = mine.user_id if scope == "user" else None
    await put(sql, amount, scope=scope, user_id=whose, unit=unit, currency=currency)
    await answer(mine, sql)
    await answer(mine, sql)
    texts = await mine.texts(sql)
    row = await mine.start(sql, prices=PRICES)
    assert row is not None
    assert (row["outcome"], row["limited_by"], row["history"]) == ("limited", "budget", None)
    state = json.loads(row["budget"])
    assert (state["scope"], state["spent"], state["left"]) == (scope, pytest.approx(amount), 0)
    begins_anew = await sql.fetchval(
        "select date_trunc('month', now() at time zone 'utc') + interval '1 month'"
    )
    assert state["begins_anew"] == f"{begins_anew:%Y-%m-%dT%H:%M:%SZ}"
    assert 0 < state["seconds"] <= 31 * 86400
    assert await mine.texts(sql) == texts, "nothing is stored"
    assert await outcome(stranger, sql) == ("everybody" if scope == "everybody" else "started")


async def test_one_that_is_set_later_counts_what_was_used_before(sql: Connection, chats: list[Chat]) -> None:
    await answer(chats[0], sql)
    await put(sql, 1300)
    assert await outcome(chats[0], sql) == "each"
    await put(sql, 1301)
    assert await outcome(chats[0], sql) == "started"
    assert await outcome(chats[-1], sql) == "started"


async def test_a_users_own_takes_the_place_of_that_of_each(sql: Connection, chats: list[Chat]) -> None:
    mine, *_, stranger = chats
    await put(sql, 0)
    assert await outcome(mine, sql) == "each"
    own = await put(sql, None, scope="user", user_id=mine.user_id)
    assert await outcome(mine, sql) == "started", "without limit"
    assert await outcome(stranger, sql) == "each"
    await put(sql, 0, unit="answers")
    assert await outcome(chats[1], sql) == "each", "that of another unit is another budget"
    await run(sql, "budgets.remove", id=own)
    await sql.execute("delete from budgets where unit = 'answers'")
    assert await outcome(chats[1], sql) == "each"


async def test_that_of_a_model_counts_that_model_alone(sql: Connection, chats: list[Chat]) -> None:
    await put(sql, 1300, model_tag="qwen")
    await answer(chats[0], sql)
    assert await outcome(chats[0], sql, prices=PRICES) == "each"
    assert await outcome(chats[0], sql) == "started", "by the model `default`"


async def test_another_currency_counts_nothing(sql: Connection, chats: list[Chat]) -> None:
    await put(sql, 0.0001, unit="cost", currency="USD")
    await answer(chats[0], sql)
    assert await outcome(chats[0], sql, prices=PRICES) == "started"


async def test_what_failed_without_a_word_is_no_answer(sql: Connection, chats: list[Chat]) -> None:
    await put(sql, 1, unit="answers")
    begun = await chats[0].begin(sql)
    await chats[0].finish(
        sql, begun, status="failed", content="", token_count=0, error_code="inference_broken"
    )
    assert await outcome(chats[0], sql) == "started"


async def test_a_title_is_no_answer_but_its_tokens_count(sql: Connection, chats: list[Chat]) -> None:
    mine = chats[0]
    await put(sql, 1, unit="answers")
    await put(sql, 1301)
    title = {"server": None, "status": "completed", "error_code": None, "milliseconds": 1, "token_count": 1}
    where = {"user_id": mine.user_id, "conversation_id": mine.id, "billed": '{"model": "small"}'}
    await run(sql, "usage.add_title", **title, **where, usage=COUNTED)
    assert await outcome(mine, sql) == "started"
    await run(sql, "usage.add_title", **title, **where, usage='{"prompt_tokens": 1, "completion_tokens": 0}')
    assert await outcome(chats[1], sql) == "each"


async def test_an_answer_that_is_brought_in_counts_once(sql: Connection, chats: list[Chat]) -> None:
    mine = chats[0]
    await put(sql, 10_000)
    row = await mine.start(sql)
    assert row is not None
    await mine.speak(sql, (row["generation_id"], 0, [{}, {"token": "so far"}]))
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    assert await sql.fetchval("select spent from spending") == 3
    for _ in range(2):
        await bring_in(sql, mine, row["generation_id"], row["user_message_id"], usage=COUNTED)
        assert await sql.fetchval("select spent from spending") == 1300


async def test_a_start_that_meets_an_answer_being_brought_in_waits_with_nothing_in_its_hands(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    """Both lock the conversation, then the sum; otherwise each would wait for the other."""
    mine = chats[0]
    await put(sql, 10_000)
    row = await mine.start(sql)
    assert row is not None
    await mine.speak(sql, (row["generation_id"], 0, [{}, {"token": "so far"}]))
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    await first.execute("select from conversations where id = $1 for no key update", mine.id)
    starting = asyncio.create_task(mine.start(second))
    await blocked(sql, second.get_server_pid())
    await bring_in(first, mine, row["generation_id"], row["user_message_id"], usage=COUNTED)
    await first.execute("commit")
    with pytest.raises(asyncpg.CheckViolationError, match="ck_conversations_version"):
        await starting  # it is repeated, since the conversation has changed
    assert await outcome(mine, second) == "started"


async def test_running_answers_reserve_what_they_may_use(sql: Connection, chats: list[Chat]) -> None:
    mine, other, third, stranger = chats
    await put(sql, 100)
    begun = await mine.begin(sql, max_tokens=98)  # and two for the prompt
    row = await other.start(sql, max_tokens=98)
    assert row is not None
    state = json.loads(row["budget"])
    assert (state["spent"], state["reserved"], state["left"]) == (0, 100, 0)
    assert await outcome(stranger, sql) == "started"
    await mine.finish(sql, begun, usage='{"prompt_tokens": 2, "completion_tokens": 50}')
    begun = await other.begin(sql, options='{"max_tokens": 45}')
    assert await outcome(third, sql) == "started", "one more may begin while anything is left"
    await other.finish(sql, begun, usage='{"prompt_tokens": 2, "completion_tokens": 45}')
    assert await sql.fetchval("select spent from spending where user_id = $1", mine.user_id) == 99


@pytest.mark.parametrize("how", ["sweep", "deletion"])
async def test_what_is_reserved_is_free_however_the_answer_ends(
    sql: Connection, chats: list[Chat], how: str
) -> None:
    mine, other, *_ = chats
    await put(sql, 1, unit="answers")
    await mine.begin(sql)
    assert await outcome(other, sql) == "each"
    if how == "sweep":
        await mine.speak(sql)
        await kill_workers(sql)
        await run(sql, "maintenance.interrupt_orphans")
    else:
        await run(sql, "conversations.delete", id=mine.id, user_id=mine.user_id)
    await put(sql, 2, unit="answers")
    assert await outcome(other, sql) == "started"


async def test_a_new_period_begins_at_nothing(sql: Connection, chats: list[Chat]) -> None:
    await put(sql, 1300, period="day")
    await answer(chats[0], sql)
    assert await outcome(chats[0], sql) == "each"
    await sql.execute("update usage set day = day - 1; update spending set began = began - 1")
    assert await outcome(chats[0], sql) == "started"
    assert await sql.fetchval("select spent from spending") == 0


async def test_a_clock_that_jumped_ahead_and_back_leaves_the_right_sum(
    sql: Connection, chats: list[Chat]
) -> None:
    await put(sql, 2600, period="day")
    await answer(chats[0], sql)
    await sql.execute("update spending set began = began + 40, spent = 0")
    await answer(chats[0], sql)
    assert await sql.fetchval("select spent from spending") == 2600


async def test_the_sums_may_be_emptied_at_any_time(sql: Connection, chats: list[Chat]) -> None:
    await put(sql, 2600)
    await answer(chats[0], sql)
    await sql.execute("truncate spending")
    await answer(chats[0], sql)
    await sql.execute("truncate spending")
    assert await outcome(chats[0], sql) == "each"


async def test_of_two_that_meet_one_gets_the_rest(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    await put(sql, 1, scope="everybody", unit="answers")
    await chats[0].begin(first)
    row = await meet(sql, first, second, chats[-1].start(second))
    assert row is not None
    assert (row["outcome"], row["limited_by"]) == ("limited", "budget")


async def test_the_other_gets_it_when_the_first_is_taken_back(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    await put(sql, 1, unit="answers")
    await chats[0].begin(first)
    row = await meet(sql, first, second, chats[1].start(second), end="rollback")
    assert row is not None
    assert row["outcome"] == "started"


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_retry_that_meets_its_first_is_not_refused(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat], has_ended: bool
) -> None:
    one_chat = chats[0]
    await put(sql, 1, unit="answers")
    begun = await one_chat.begin(first, idempotency_key="k")
    if has_ended:
        await one_chat.finish(first, begun)
    row = await meet(sql, first, second, one_chat.start(second, idempotency_key="k"))
    assert row is not None
    assert row["outcome"] == "crowded"
    row = await one_chat.start(second, idempotency_key="k")
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("existed", begun)


async def test_two_first_sums_of_a_period_that_meet_lose_nothing(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    await put(sql, 10_000, scope="everybody")
    begun = [await chat.begin(sql) for chat in (chats[0], chats[-1])]
    await sql.execute("truncate spending")
    await chats[0].finish(first, begun[0], usage=COUNTED)
    await meet(sql, first, second, chats[-1].finish(second, begun[1], usage=COUNTED))
    assert await sql.fetchval("select spent from spending") == 2600


async def test_a_refusal_writes_nothing_and_waits_for_nobody(
    sql: Connection, first: Connection, second: Connection, chats: list[Chat]
) -> None:
    await put(sql, 1, unit="answers")
    await answer(chats[0], sql)
    before = await sql.fetch("select xmin, ctid, * from spending")
    await first.execute("select from spending for update")
    async with asyncio.timeout(30):
        assert await outcome(chats[1], second) == "each"
    assert await sql.fetch("select xmin, ctid, * from spending") == before


async def test_a_rate_limit_is_not_used_up_by_what_a_budget_refuses(
    sql: Connection, chats: list[Chat]
) -> None:
    await put(sql, 0)
    limits = json.dumps([{"name": "sends_per_user", "subject": "x", "every": "1 s", "period": "9 s"}])
    assert await outcome(chats[0], sql, limits=limits) == "each"
    assert await sql.fetchval("select count(*) from allowances") == 0


async def test_many_at_once_overrun_by_no_more_than_what_runs(database_url: str, sql: Connection) -> None:
    """Twenty users on eight connections, and one budget for everybody: starts and ends in any order."""
    await put(sql, 10_000, scope="everybody")
    chats = [await Chat().open(sql) for _ in range(20)]
    started: list[int] = []

    async def work(mine: list[Chat]) -> None:
        connection = await asyncpg.connect(database_url)
        try:
            for chat in [*mine] * 4:
                row = await chat.start(connection, max_tokens=998)
                assert row is not None
                if row["outcome"] == "started":
                    started.append(1)
                    counted = '{"prompt_tokens": 2, "completion_tokens": 998}'
                    await chat.finish(connection, row["generation_id"], usage=counted)
        finally:
            await connection.close()

    await asyncio.gather(*(work(chats[number::8]) for number in range(8)))
    assert len(started) == 10
    assert await sql.fetchval("select sum(prompt_tokens + completion_tokens) from usage") == 10_000
    assert await sql.fetchval("select spent from spending") == 10_000


async def test_holding_one_reads_no_more_however_much_was_used(sql: Connection, chats: list[Chat]) -> None:
    """The sums are kept: neither a start nor an end adds usage up again."""

    async def rows_read() -> int:
        async with sql.transaction():
            await answer(chats[0], sql)
            return int(
                await sql.fetchval(
                    "select coalesce(sum(seq_tup_read + idx_tup_fetch), 0) from pg_stat_xact_user_tables"
                    " where relname = 'usage'"
                )
            )

    await put(sql, 10**9)
    await put(sql, 10**9, scope="everybody")
    await answer(chats[0], sql)
    few = await rows_read()
    await months(sql, 20, 30)
    assert await rows_read() == few
