"""`chat-api user import` brings back what `user export` wrote, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from chat_api.cli import main
from chat_api.commands.data import bring_back
from tests.commands.test_user_command import MEASURED, forked, talked
from tests.support.queries import Connection, dump

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `chat-api user …`. Returns its exit status, stdout and stderr."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["user", *(str(each) for each in arguments)])
        return (status, *capfd.readouterr())

    return run


async def test_export_erase_import_export_gives_equal_files(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    chat = await forked(sql, uuid4())
    other = await talked(sql, chat.user_id, "🥟 \\ \n\x01", "two")
    await sql.execute(
        "insert into queued_messages (conversation_id, content, request, idempotency_key)"
        " values ($1, 'and then?', '{\"options\": {}}', 'k')",
        other.id,
    )
    await sql.execute(
        'update messages set is_refused = true, tool_calls = \'[{"id": "c1"}]\', usage = \'{"a": 1}\''
        " where conversation_id = $1 and role = 'user'",
        other.id,
    )
    await sql.execute(
        "update generations set tries = '[]', call_message_id = id, model_tag = 'd20', max_tokens = 9,"
        ' prompt_estimate = 8, price = \'{"prompt": 1, "completion": 2, "currency": "EUR"}\''
    )
    await sql.execute("update usage set cost = 0.00120, currency = 'EUR', price = '{}', error_code = 'e'")
    await sql.execute(
        'update conversations set options = \'{"top_k": 3}\', metadata = \'{"a": "b"}\','
        " version = 7, is_favorited = true"
    )
    before, after, used = tmp_path / "before.jsonl", tmp_path / "after.jsonl", "7 rows of usage"
    assert run("export", chat.user_id, "--output", before)[0] == 0
    assert run("delete", chat.user_id, "--yes")[0] == 0
    assert run("import", chat.user_id, before) == (
        0,
        f"imported 2 conversations, 13 messages and 7 answer records of {chat.user_id}, and {used}\n",
        "",
    )
    assert run("export", chat.user_id, "--output", after)[0] == 0
    assert after.read_text() == before.read_text()
    # Twice is once, and what was said since stays.
    await chat.finish(sql, await chat.begin(sql, content="more"), content="more!")
    stored = await dump(sql)
    status, said, _ = run("import", chat.user_id, before)
    assert (status, said.partition("; ")[2]) == (0, "2 conversations were there already\n")
    assert await dump(sql) == stored


async def test_one_conversation_is_brought_back_and_goes_on(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    chat = await forked(sql, uuid4())
    await talked(sql, chat.user_id, "another")
    file = tmp_path / "one.jsonl"
    assert run("export", chat.user_id, "--conversation", chat.id, "--output", file)[0] == 0
    shown = await chat.texts(sql)
    await sql.execute("delete from conversations where id = $1", chat.id)
    assert run("import", chat.user_id, file)[0] == 0
    assert await chat.texts(sql) == shown
    await chat.finish(sql, await chat.begin(sql, content="more"), content="more!")
    assert await chat.texts(sql) == [*shown, "more", "more!"]


async def test_an_answer_that_was_being_written_comes_back_as_interrupted(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    chat = await talked(sql, uuid4(), "one")
    await chat.begin(sql, content="two")
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    await sql.execute("delete from conversations")
    assert run("import", chat.user_id, file)[0] == 0
    statuses = await sql.fetch("select status from generations order by position")
    assert [row["status"] for row in statuses] == ["completed", "interrupted"]


BUDGETS = [("everybody", "month"), ("each", "month"), ("each", "day")]


async def held_against(sql: Connection, user_id: UUID) -> dict[tuple[str, str], tuple[int, int]]:
    """The budgets of a user: the sum that each is held against, and what the usage adds up to."""
    rows = await sql.fetch(
        "select b.scope, b.period, chat_spent(b) as spent, chat_used(b) as used"
        " from chat_budgets($1, null) as b",
        user_id,
    )
    return {(row["scope"], row["period"]): (row["spent"], row["used"]) for row in rows}


async def budgeted(sql: Connection, user_id: UUID) -> None:
    """Set budgets of tokens, with their sums, as they are after an answer."""
    for scope, period in BUDGETS:
        await sql.execute(
            "insert into budgets (scope, period, unit, amount) values ($1, $2, 'tokens', 1000)", scope, period
        )
    await sql.execute("select chat_spend(b, 0) from chat_budgets($1, null) as b", user_id)


async def test_what_was_used_counts_once_in_the_budgets_of_the_current_periods(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    chat = await talked(sql, uuid4(), "one", "two", "three")
    ids = [row["id"] for row in await sql.fetch("select id from usage order by id")]
    await sql.execute("update usage set prompt_tokens = 10, completion_tokens = 0")
    month = "date_trunc('month', now() at time zone 'utc')::date"
    await sql.execute(f"update usage set day = {month} - 1 where id = $1", ids[0])
    # Yesterday, but of this month where the month has one.
    await sql.execute(f"update usage set day = greatest({month}, day - 1) where id = $1", ids[1])
    of_today = 10 * await sql.fetchval("select count(*) from usage where day = chat_period('day')")
    file = tmp_path / "export.jsonl"
    assert run("export", chat.user_id, "--output", file)[0] == 0
    await sql.execute("delete from conversations")
    await sql.execute("truncate usage")
    await budgeted(sql, chat.user_id)
    wanted = {("everybody", "month"): (20, 20), ("each", "month"): (20, 20), ("each", "day"): (of_today,) * 2}
    for added in ("3 rows", "0 rows"):
        status, said, _ = run("import", chat.user_id, file)
        assert (status, f", and {added} of usage" in said) == (0, True)
        assert await held_against(sql, chat.user_id) == wanted
    assert await sql.fetchval("select count(*) from usage") == 3


async def test_what_an_erasure_left_gets_its_user_back_and_counts_once_for_everybody(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    chat = await talked(sql, uuid4(), "one")
    await sql.execute("update usage set prompt_tokens = 10, completion_tokens = 0")
    await budgeted(sql, chat.user_id)
    before = await held_against(sql, chat.user_id)
    assert before == dict.fromkeys(BUDGETS, (10, 10))
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    run("delete", chat.user_id, "--yes")
    await sql.execute("select chat_spend(b, 0) from chat_budgets($1, null) as b", chat.user_id)
    assert (await held_against(sql, chat.user_id))["each", "month"] == (0, 0)
    assert run("import", chat.user_id, file)[0] == 0
    assert await held_against(sql, chat.user_id) == before


async def test_an_export_of_before_usage_was_in_it_is_read(run: Run, sql: Connection, tmp_path: Path) -> None:
    chat = await talked(sql, uuid4(), "one")
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    await sql.execute("delete from conversations")
    await sql.execute("truncate usage")
    values = [json.loads(line) for line in file.read_text().splitlines()]
    later = ("model_tag", "price", "prompt_estimate", "max_tokens")
    for value in values:
        if value["type"] == "generation":
            for name in later:
                del value[name]
    file.write_text("\n".join(json.dumps(value) for value in values if value["type"] != "usage"))
    status, said, _ = run("import", chat.user_id, file)
    assert (status, said) == (
        0,
        f"imported 1 conversation, 2 messages and 1 answer record of {chat.user_id}, and 0 rows of usage\n",
    )
    assert [dict(row) for row in await sql.fetch(f"select {', '.join(later)} from generations")] == [
        dict.fromkeys(later)
    ]


async def test_usage_that_is_another_users_is_refused(run: Run, sql: Connection, tmp_path: Path) -> None:
    chat, stranger = await talked(sql, uuid4(), "one"), uuid4()
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    file.write_text(file.read_text().splitlines()[-1])
    (used,) = await sql.fetch("select * from usage")
    status, _, said = run("import", stranger, file)
    assert status == 1
    assert said.startswith(f"chat-api: line 1: the usage {used['id']} is of the user {chat.user_id}; ")
    file.write_text(file.read_text().replace(str(chat.user_id), str(stranger)))
    status, _, said = run("import", stranger, file)
    assert (status, f"line 1: the id {used['id']} is already used" in said) == (1, True)
    assert await sql.fetch("select * from usage") == [used]


async def test_a_long_list_of_usage_is_imported_in_parts(
    run: Run, sql: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bring_back, "USAGE_ROWS", 2)
    chat = await talked(sql, uuid4(), "one", "two", "three")
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    await sql.execute("truncate usage")
    *rest, last = file.read_text().splitlines()
    file.write_text("\n".join([*rest, last.replace('"status":"completed"', '"status":"odd"')]))
    assert run("import", chat.user_id, file)[0] == 1
    assert await sql.fetchval("select count(*) from usage") == 2


async def test_what_is_another_users_is_refused(run: Run, sql: Connection, tmp_path: Path) -> None:
    chat, stranger = await talked(sql, uuid4(), "one"), uuid4()
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    stored = await dump(sql)
    status, _, said = run("import", stranger, file)
    assert status == 1
    assert said.startswith(f"chat-api: line 1: the conversation {chat.id} is of the user {chat.user_id}; ")
    # The same with the owner's id replaced, then with the conversation's as well.
    file.write_text(file.read_text().replace(str(chat.user_id), str(stranger)))
    status, _, said = run("import", stranger, file)
    assert (status, "line 1: the conversation" in said, "another user" in said) == (1, True, True)
    file.write_text(file.read_text().replace(str(chat.id), str(uuid4())))
    status, _, said = run("import", stranger, file)
    assert (status, "line 2: the id" in said, "already used" in said) == (1, True, True)
    assert await dump(sql) == stored


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nonexistent", "No such file or directory"),
        ("/tmp", "Is a directory"),
        ("-", "No such file or directory"),
        ("/proc/self/mem", "Input/output error"),  # opens, and can't be read
    ],
)
def test_a_file_that_cannot_be_read_is_told_in_a_sentence(run: Run, path: str, reason: str) -> None:
    assert run("import", uuid4(), path) == (1, "", f"chat-api: cannot read {path}: {reason}\n")


def test_an_empty_file_is_no_export(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    file.touch()
    assert run("import", uuid4(), file) == (
        1,
        "",
        f"chat-api: {file} is empty: there is nothing to import; perhaps its export failed\n",
    )


def test_a_line_without_an_end_does_not_take_all_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bring_back, "LONGEST_LINE", 100_000)
    status, _, said = run("import", uuid4(), "/dev/zero")
    assert (status, said) == (
        1,
        "chat-api: line 1: it is longer than 100000 bytes; nothing was imported\n",
    )


@pytest.mark.parametrize(
    ("number", "line", "problem"),
    [
        (3, '{"type": "mess', "line 3: it isn't JSON"),
        (3, '{"type": "message", "conversation_id": "x"}', "line 3: it isn't of the conversation"),
        (3, '{"type": "journal"}', "line 3: it has no known type"),
        (1, '{"type": "message"}', "line 1: a conversation's line"),
        (1, '{"type": "conversation", "id": "x"}', "line 1: it is of an export without all fields"),
        (2, None, "line 2: no line above is the message"),
    ],
)
async def test_a_broken_line_names_its_number_and_nothing_of_its_conversation_is_imported(
    run: Run, sql: Connection, tmp_path: Path, number: int, line: str | None, problem: str
) -> None:
    chat = await talked(sql, uuid4(), "one")
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    await sql.execute("delete from conversations")
    lines = file.read_text().splitlines()
    lines[number - 1 : number] = [] if line is None else [line]
    file.write_text("\n".join(lines) + "\n")
    status, _, said = run("import", chat.user_id, file)
    assert (status, problem in said) == (1, True), said
    assert said.endswith("; nothing was imported\n")
    assert await sql.fetchval("select count(*) from conversations") == 0


@pytest.mark.parametrize(
    ("whole", "told"), [(1, "1 conversation before it was"), (2, "2 conversations before it were")]
)
async def test_what_was_imported_before_a_broken_line_is_told_and_is_there_the_next_time(
    run: Run, sql: Connection, tmp_path: Path, whole: int, told: str
) -> None:
    user_id = uuid4()
    for _ in range(whole + 1):
        await talked(sql, user_id, "one")
    file = tmp_path / "export.jsonl"
    run("export", user_id, "--output", file)
    await sql.execute("delete from conversations")
    exported = file.read_text().splitlines(keepends=True)
    lines = "".join(line for line in exported if not line.startswith('{"type":"usage"'))
    file.write_text(lines[:-50])
    status, _, said = run("import", user_id, file)
    assert (status, said.endswith(f"), perhaps because the file was cut; {told} imported\n")) == (1, True), (
        said
    )
    assert await sql.fetchval("select count(*) from conversations") == whole
    file.write_text(lines)
    status, said, _ = run("import", user_id, file)
    were = "1 conversation was" if whole == 1 else "2 conversations were"
    assert (status, said.partition("; ")[2]) == (0, f"{were} there already\n")


async def test_a_value_that_does_not_fit_names_its_line(run: Run, sql: Connection, tmp_path: Path) -> None:
    chat = await talked(sql, uuid4(), "one")
    file = tmp_path / "export.jsonl"
    run("export", chat.user_id, "--output", file)
    await sql.execute("delete from conversations")
    first, second, *rest = file.read_text().splitlines()
    for wrong in ({"role": "nobody"}, {"created_at": "no time"}):
        file.write_text("\n".join([first, json.dumps(json.loads(second) | wrong), *rest]))
        status, _, said = run("import", chat.user_id, file)
        assert (status, "chat-api: line 2: " in said) == (1, True), said


async def test_an_import_of_20_000_messages_takes_no_more_memory_than_one_of_a_few(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    few, many = await talked(sql, uuid4(), "hi"), await talked(sql, uuid4(), "hi")
    await sql.execute(
        "insert into messages (conversation_id, role, content)"
        " select $1, 'user', repeat('word ', 200) from generate_series(1, 20000)",
        many.id,
    )
    used = {}
    for chat in (few, many):
        run("export", chat.user_id, "--output", tmp_path / "export.jsonl")
        await sql.execute("delete from conversations where id = $1", chat.id)
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", MEASURED, "user", "import", str(chat.user_id), tmp_path / "export.jsonl"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=True,
        )  # fmt: skip
        used[chat.id] = int(done.stderr)  # KiB
    assert used[many.id] < used[few.id] + 8_000
