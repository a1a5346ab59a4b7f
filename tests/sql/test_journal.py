"""What the statements of the journal do: a worker's tick, reading, pruning, notifications."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from chat_api.postgres.queries import load_queries
from chat_api.relay.notices import PAYLOAD_CHARACTERS
from tests.support.queries import Chat, Connection, one, prune, run, tick

A, B, C = ({"token": token} for token in "abc")


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    """An empty conversation."""
    return await Chat().open(sql)


@pytest.fixture
async def begun(sql: Connection, chat: Chat) -> UUID:
    """A generation that is running in it."""
    return await chat.begin(sql)


async def slices(sql: Connection) -> list[tuple[UUID, int, int, Any]]:
    """All slices of the journal."""
    rows = await sql.fetch(
        "select generation_id, first_seq, next_seq, events from journal order by generation_id, next_seq"
    )
    return [(*tuple(row)[:3], orjson.loads(row["events"])) for row in rows]


# tick


async def test_a_tick_of_an_idle_worker_holds_its_lease_and_writes_nothing(sql: Connection) -> None:
    worker = uuid4()
    for seconds in (5.0, 60.0):
        row = await tick(sql, worker, seconds=seconds)
        assert (row["asked_to_stop"], row["lost"], row["other_workers"], row["notified"]) == ([], [], 0, 0)
        (lease,) = await sql.fetch("select id, lease_until - now() as rest from workers")
        assert (lease["id"], seconds - 5 < lease["rest"].total_seconds() <= seconds) == (worker, True)
    assert await slices(sql) == []


async def test_a_tick_writes_the_slices_of_many_generations_to_the_letter(
    sql: Connection, chat: Chat, begun: UUID
) -> None:
    other = await Chat(worker_id=chat.worker_id).open(sql)
    others = await other.begin(sql)
    await chat.speak(sql, (begun, 0, [{}, A]), (others, 0, [{}]))
    await chat.speak(sql, (begun, 2, [B]))
    assert await slices(sql) == [(begun, 0, 2, [{}, A]), (begun, 2, 3, [B]), (others, 0, 1, [{}])]
    text = '[{"b": 1.0,  "a":"\\u00e9\\u0000","a":1e999}]'
    await tick(
        sql,
        chat.worker_id,
        live=[others],
        ids=[others],
        first_seqs=[1],
        next_seqs=[2],
        slices=[text],
    )
    assert await sql.fetchval("select events from journal where first_seq = 1") == text


async def test_a_slice_that_comes_twice_is_written_once(sql: Connection, chat: Chat, begun: UUID) -> None:
    for _ in range(2):
        row = await chat.speak(sql, (begun, 0, [{}, A]))
        assert row["lost"] == []
    assert await slices(sql) == [(begun, 0, 2, [{}, A])]


async def test_a_slice_may_begin_before_the_end_of_the_one_that_was_written(
    sql: Connection, chat: Chat, begun: UUID
) -> None:
    """If the outcome of a write is unknown, the next write has everything since the last known one."""
    await chat.speak(sql, (begun, 0, [{}, A]))
    await chat.speak(sql, (begun, 0, [{}, A, B]))
    assert await slices(sql) == [(begun, 0, 2, [{}, A]), (begun, 0, 3, [{}, A, B])]


@pytest.mark.parametrize(
    ("change", "is_written"),
    [
        ("select", True),
        ("update generations set stop_requested_at = now()", True),  # what it still writes counts
        ("update generations set worker_id = gen_random_uuid()", False),
        ("update generations set status = 'interrupted', finished_at = now()", False),
        ("delete from conversations", False),
        ("delete from workers", True),  # this tick renews its lease, and nobody has taken its generations
    ],
)
async def test_only_what_is_still_the_workers_own_is_written_and_the_rest_is_told_lost(
    sql: Connection, chat: Chat, begun: UUID, change: str, is_written: bool
) -> None:
    await chat.speak(sql, (begun, 0, [{}]))
    await sql.execute(change)
    other = await Chat(worker_id=chat.worker_id).open(sql)
    others = await other.begin(sql)
    said = (begun, 1, [A]), (others, 0, [{}])
    row = await tick(sql, chat.worker_id, *said, live_in=[chat.id, other.id])
    is_deleted = change.startswith("delete from conversations")
    assert row["deleted"] == ([begun] if is_deleted else [])
    assert row["lost"] == ([] if is_written or is_deleted else [begun])
    assert row["asked_to_stop"] == ([begun] if "stop" in change else [])
    written = [(begun, 0, 1, [{}]), *([(begun, 1, 2, [A])] if is_written else [])]
    assert await slices(sql) == [*written, (others, 0, 1, [{}])]


async def test_another_workers_generations_are_neither_written_nor_told_of(
    sql: Connection, chat: Chat, begun: UUID
) -> None:
    await one(sql, "generations.stop", conversation_id=chat.id, user_id=chat.user_id, generation_id=None)
    row = await tick(sql, uuid4(), (begun, 0, [{}]), live=[])
    assert (row["asked_to_stop"], row["lost"]) == ([], [])
    assert await slices(sql) == []


async def test_a_tick_without_slices_tells_too_what_is_lost_and_asked_to_stop(
    sql: Connection, chat: Chat, begun: UUID
) -> None:
    gone = uuid4()
    await one(sql, "generations.stop", conversation_id=chat.id, user_id=chat.user_id, generation_id=None)
    row = await tick(sql, chat.worker_id, live=[begun, gone])
    assert (row["asked_to_stop"], row["lost"]) == ([begun], [gone])
    row = await tick(sql, chat.worker_id, live=[])
    assert (row["asked_to_stop"], row["lost"]) == ([begun], [])


async def test_a_tick_counts_the_other_workers_that_live(sql: Connection) -> None:
    for seconds, number in ((60.0, 0), (60.0, 1), (-1.0, 2), (60.0, 2)):
        assert (await tick(sql, uuid4(), seconds=seconds))["other_workers"] == number


# read


async def read(sql: Connection, *wanted: tuple[UUID, int]) -> dict[UUID, asyncpg.Record]:
    rows = await run(
        sql, "journal.read", ids=[each for each, _ in wanted], next_seqs=[next_seq for _, next_seq in wanted]
    )
    assert len(rows) == len(wanted)
    return {row["generation_id"]: row for row in rows}


def said(row: asyncpg.Record) -> list[tuple[int, Any]]:
    """The slices in a row: the first number, the events."""
    assert (row["first_seqs"] is None) == (row["slices"] is None)
    return [
        (first_seq, orjson.loads(text))
        for first_seq, text in zip(row["first_seqs"] or (), row["slices"] or (), strict=True)
    ]


@pytest.mark.parametrize(
    ("next_seq", "places"),
    [(0, [0, 2, 1, 4]), (1, [0, 2, 1, 4]), (2, [2, 1, 4]), (3, [1, 4]), (4, [4]), (5, []), (99, [])],
)
async def test_a_generation_is_read_from_the_slice_that_holds_the_wanted_number(
    sql: Connection, chat: Chat, begun: UUID, next_seq: int, places: list[int]
) -> None:
    for first_seq, events in ((0, [{}, A]), (2, [B]), (1, [A, B, C]), (4, [A])):
        await chat.speak(sql, (begun, first_seq, events))
    row = (await read(sql, (begun, next_seq)))[begun]
    assert [first_seq for first_seq, _ in said(row)] == places
    assert (row["status"], row["conversation_id"]) == ("running", chat.id)
    assert row["user_message_id"] == await sql.fetchval("select id from messages")
    assert (row["message_id"], row["content"], row["finish_reason"], row["error_code"]) == (None,) * 4


async def test_several_generations_are_read_at_once_each_from_its_own_number(
    sql: Connection, chat: Chat, begun: UUID
) -> None:
    finished, silent, gone = [await Chat(worker_id=chat.worker_id).open(sql) for _ in range(3)]
    ended, quiet, deleted = [await each.begin(sql) for each in (finished, silent, gone)]
    await chat.speak(sql, (begun, 0, [{}, A]), (ended, 0, [{}]), (deleted, 0, [{}]))
    await chat.speak(sql, (begun, 2, [B]))
    await finished.finish(sql, ended, content="c", first_seq=1, last_seq=2, slice=orjson.dumps([C]).decode())
    await one(sql, "conversations.delete", id=gone.id, user_id=gone.user_id)
    unknown = uuid4()
    rows = await read(sql, (begun, 2), (ended, 0), (quiet, 0), (deleted, 0), (unknown, 0))
    assert {each: said(row) for each, row in rows.items()} == {
        begun: [(2, [B])],
        ended: [(0, [{}]), (1, [C])],
        quiet: [],
        deleted: [(0, [{}])],
        unknown: [],
    }
    statuses = {begun: "running", ended: "completed", quiet: "running", deleted: None, unknown: None}
    assert {each: row["status"] for each, row in rows.items()} == statuses
    assert await read(sql) == {}


@pytest.mark.parametrize(
    ("status", "reason", "error_code", "content"),
    [
        ("completed", "length", None, "text"),
        ("stopped", "stopped", None, ""),
        ("failed", "error", "inference_rejected", ""),
        ("interrupted", "interrupted", "worker_lost", "text"),
    ],
)
@pytest.mark.parametrize("is_pruned", [False, True])
async def test_how_a_generation_ended_is_read_with_or_without_its_slices(
    sql: Connection,
    chat: Chat,
    begun: UUID,
    status: str,
    reason: str,
    error_code: str | None,
    content: str,
    is_pruned: bool,
) -> None:
    await chat.finish(
        sql,
        begun,
        status=status,
        finish_reason=reason,
        error_code=error_code,
        content=content,
        first_seq=0,
        slice="[{}, {}, {}]",
    )
    if is_pruned:
        await sql.execute("delete from journal")
    row = (await read(sql, (begun, 0)))[begun]
    assert said(row) == ([] if is_pruned else [(0, [{}, {}, {}])])
    assert (row["status"], row["finish_reason"], row["error_code"]) == (status, reason, error_code)
    assert (row["token_count"], row["inference_time_ms"], row["last_seq"]) == (2, 40, 3)
    assert row["content"] == (content or None)
    assert row["message_id"] == await sql.fetchval("select message_id from generations")


async def test_a_replaced_answer_is_read_as_the_one_that_replaced_it(
    sql: Connection, chat: Chat, begun: UUID
) -> None:
    await chat.finish(
        sql,
        begun,
        status="interrupted",
        finish_reason="interrupted",
        error_code="inference_timeout",
        first_seq=0,
        slice="[{}, {}, {}]",
    )
    again = await chat.begin(sql, kind="regenerate")
    better = await chat.finish(sql, again, content="better", token_count=7, inference_time_ms=70)
    assert better is not None
    row = (await read(sql, (begun, 0)))[begun]
    assert (row["message_id"], row["content"]) == (better["message_id"], "better")
    assert (row["finish_reason"], row["error_code"]) == ("stop", None)
    assert (row["token_count"], row["inference_time_ms"]) == (7, 70)
    assert said(row) == []  # the old one's events had another text


# prune


async def age(sql: Connection, generation_id: UUID, finished: float | None, begun: float) -> UUID:
    """Make a generation look as if it had started and ended so long ago. Its id has the time of the start."""
    milliseconds = round((time.time() - begun) * 1000)
    aged = UUID(int=milliseconds << 80 | generation_id.int & ((1 << 80) - 1))
    await sql.execute("update journal set generation_id = $2 where generation_id = $1", generation_id, aged)
    await sql.execute(
        "update generations set id = $2, finished_at = now() - make_interval(secs => $3), status = $4"
        " where id = $1",
        generation_id,
        aged,
        finished,
        "running" if finished is None else "completed",
    )
    return aged


async def journal_of(sql: Connection, count: int, finished: float | None, begun: float) -> UUID:
    """Write so many slices of a generation of that age."""
    chat = await Chat().open(sql)
    generation_id = await chat.begin(sql)
    for seq in range(count):
        await chat.speak(sql, (generation_id, seq, [{}]))
    return await age(sql, generation_id, finished, begun)


async def left(sql: Connection) -> dict[UUID, int]:
    """How many slices the journal has of each generation."""
    rows = await sql.fetch("select generation_id, count(*) from journal group by 1")
    return {row["generation_id"]: row["count"] for row in rows}


async def test_slices_leave_when_their_generation_ended_a_window_ago(sql: Connection) -> None:
    await journal_of(sql, 2, finished=601, begun=900)
    fresh = await journal_of(sql, 1, finished=1, begun=2)
    late = await journal_of(sql, 1, finished=599, begun=900)
    running = await journal_of(sql, 3, finished=None, begun=7200)
    young = await journal_of(sql, 1, finished=None, begun=1)
    gone = await journal_of(sql, 2, finished=None, begun=601)
    lately_gone = await journal_of(sql, 1, finished=None, begun=590)
    await sql.execute(
        "delete from conversations where id in (select conversation_id from generations where id = any($1))",
        [gone, lately_gone],
    )
    await prune(sql, seconds=600.0)
    assert await left(sql) == {fresh: 1, late: 1, running: 3, young: 1, lately_gone: 1}
    await prune(sql, seconds=0.5)
    assert await left(sql) == {running: 3, young: 1}


async def test_slices_leave_oldest_first_and_a_batch_at_a_time(sql: Connection) -> None:
    newer = await journal_of(sql, 2, finished=700, begun=800)
    older = await journal_of(sql, 3, finished=650, begun=900)
    for expected in ({older: 1, newer: 2}, {newer: 1}, {}):
        await prune(sql, seconds=600.0, max_rows=2)
        assert await left(sql) == expected


async def test_two_workers_prune_at_once_and_neither_waits(sql: Connection, database_url: str) -> None:
    await journal_of(sql, 2, finished=650, begun=900)
    newer = await journal_of(sql, 3, finished=650, begun=800)
    second = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(5), second.transaction():
            await prune(second, seconds=600.0, max_rows=2)
            await prune(sql, seconds=600.0, max_rows=2)
            assert await left(second) == {newer: 1}
    finally:
        await second.close()
    assert await left(sql) == {newer: 1}


# notifications


async def heard(sql: Connection, database_url: str, notifications: list[str]) -> list[str]:
    """The payloads that a listener gets from a tick."""
    payloads: list[str] = []
    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("chat_journal", lambda _, __, ___, payload: payloads.append(str(payload)))
        row = await tick(sql, uuid4(), notifications=notifications)
        assert row["notified"] == len(notifications)
        # Notifications arrive in the order of commits: when this one is there, all before it are, too.
        last = asyncio.Event()
        await listener.add_listener("last", lambda *_: last.set())
        await sql.execute("notify last")
        async with asyncio.timeout(5):
            await last.wait()
    finally:
        await listener.close()
    return payloads


@pytest.mark.parametrize(
    "payloads", [[], ["many"], ["x" * PAYLOAD_CHARACTERS, "y" * PAYLOAD_CHARACTERS, f"stop {UUID(int=1)}"]]
)
async def test_listeners_hear_what_a_tick_tells(
    sql: Connection, database_url: str, payloads: list[str]
) -> None:
    assert await heard(sql, database_url, payloads) == payloads


async def test_nothing_but_a_tick_notifies(sql: Connection) -> None:
    """Transactions that notify commit one after the other: no user's request may wait for that."""
    notifies = re.compile(r"\bnotify\b|pg_notify", re.IGNORECASE)
    assert [name for name, query in load_queries().items() if notifies.search(query.text)] == ["journal.tick"]
    functions = await sql.fetch(
        "select proname, prosrc from pg_proc where pronamespace <> all($1::regnamespace[])",
        ["pg_catalog", "information_schema"],
    )
    assert functions
    assert [row["proname"] for row in functions if notifies.search(row["prosrc"])] == []
