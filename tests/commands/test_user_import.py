"""`chat-api user import` brings back what `user export` wrote, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from chat_api.cli import main
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
    await sql.execute("update generations set tries = '[]', call_message_id = id")
    await sql.execute("update conversations set options = '{\"top_k\": 3}', version = 7, is_favorited = true")
    before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
    assert run("export", chat.user_id, "--output", before)[0] == 0
    assert run("delete", chat.user_id, "--yes")[0] == 0
    assert run("import", chat.user_id, before) == (
        0,
        f"imported 2 conversations, 13 messages and 7 answer records of {chat.user_id}\n",
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
    lines = file.read_text()
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
