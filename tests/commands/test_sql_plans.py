"""`chat-api sql plans`: what a release, an upgrade or a dropped index does to the plans of all queries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from bench.buffers import fill
from chat_api.cli import main
from chat_api.commands.sql import plan_file
from chat_api.commands.sql.plan_changes import FEW_BUFFERS, compare_plans
from chat_api.commands.sql.plan_file import read
from chat_api.commands.sql.plans import CASES
from chat_api.dev.postgres.server import Postgres
from chat_api.folders import migration_ids
from chat_api.postgres.queries import load_queries

Connection = psycopg.Connection[Any]
Run = Callable[..., tuple[int, str]]
DATABASE = "saved_plans"
HEAD = '"kind": "chat-api sql plans", "format": 1'


@pytest.fixture(scope="module")
def full(postgres: Postgres, template: str) -> Iterator[tuple[str, Connection]]:
    """A database with 1,000 conversations, one of 1,000 messages, and 31 running answers; its URL."""
    names = [*map(sql.Identifier, (DATABASE, template))]
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(*names))
        try:
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True) as connection:
                fill(connection, 1_000, 10_000)
                yield postgres.dsn(DATABASE), connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(names[0]))


@pytest.fixture
def run(
    full: tuple[str, Connection], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run `chat-api sql plans …` on that database. Returns its exit status, and stdout and stderr."""
    monkeypatch.setenv("DATABASE_URL", full[0])

    def run(*arguments: str) -> tuple[int, str]:
        full[1].execute("vacuum analyze")
        status = main(["sql", "plans", *arguments])
        written = capsys.readouterr()
        return status, written.out + written.err

    return run


@pytest.fixture(scope="module")
def saved(full: tuple[str, Connection], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plans of that database, saved by the command when its tables have their final size."""
    path = tmp_path_factory.mktemp("plans") / "plans.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", full[0])
        for _ in range(2):  # the rows that the first one rolled back leave room for those of all others
            assert main(["sql", "plans", "--save", str(path)]) == 0
            full[1].execute("vacuum analyze")
    return path


def test_a_save_has_every_query_in_four_cases_and_says_what_it_was_made_on(
    full: tuple[str, Connection], saved: Path
) -> None:
    document = json.loads(saved.read_text())
    ((version,),) = full[1].execute("show server_version").fetchall()
    assert document["server"] == version.split()[0]
    assert document["migrations"] == sorted(migration_ids())
    assert document["plans"].keys() == load_queries().keys()
    assert document["failed"] == {}
    cases = {f"{parameters}, {kind}" for parameters, kind in CASES}
    assert all(plans.keys() == cases for plans in document["plans"].values())
    assert "idx_messages_conversation_position" in json.dumps(document["plans"]["conversations.get"])


def test_the_worst_parameters_find_more_than_the_typical_ones(saved: Path) -> None:
    plans = json.loads(saved.read_text())["plans"]
    for name in ("conversations.fork", "generations.begun", "journal.tick"):
        typical, worst = (plans[name][f"{case}, custom"]["buffers"] for case in ("typical", "worst"))
        assert worst > 1.2 * typical, name


def test_two_saves_of_the_same_database_have_no_change(run: Run, saved: Path) -> None:
    status, text = run("--compare", str(saved))
    last = f"no changes in {len(load_queries())} queries; more buffers count beyond 25 % and 10"
    assert (status, text.splitlines()[-1]) == (0, last), text
    assert text.count("PostgreSQL") == 2


def test_a_database_with_nothing_in_it_is_saved_too(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    path = tmp_path / "plans.json"
    assert main(["sql", "plans", "--save", str(path)]) == 0
    assert json.loads(path.read_text())["failed"] == {}


def test_nothing_that_a_save_executes_is_kept(full: tuple[str, Connection], run: Run, tmp_path: Path) -> None:
    tables = ("conversations", "messages", "inactive_messages", "generations", "journal", "usage", "workers")
    ask = " union all ".join(f"select count(*), max(xmin::text) from {table}" for table in tables)
    before = full[1].execute(ask).fetchall()
    assert run("--save", str(tmp_path / "plans.json"))[0] == 0
    assert full[1].execute(ask).fetchall() == before


def test_an_index_that_is_gone_is_a_new_scan_or_another_index_and_more_buffers(
    full: tuple[str, Connection], run: Run, saved: Path
) -> None:
    ((definition,),) = (
        full[1].execute("select pg_get_indexdef('idx_conversations_user_updated'::regclass)").fetchall()
    )
    full[1].execute("drop index idx_conversations_user_updated")
    try:
        status, text = run("--compare", str(saved))
        assert status == 1
        assert "conversations.page reads all of conversations: a new sequential scan; uses" in text
        assert "instead of idx_conversations_user_updated" in text
        assert "buffers instead of" in text
        status, text = run("--compare", str(saved), "--tolerance", "10000", "--json")
    finally:
        full[1].execute(definition)
        full[1].execute("vacuum analyze conversations")
    found = json.loads(text)
    assert status == 1
    assert not found["ok"]
    assert found["tolerance_percent"] == 10_000
    assert not any("buffers instead of" in change["what"] for change in found["changes"])
    assert found["before"]["server"] == found["now"]["server"]
    (scanned, *_) = [change for change in found["changes"] if change["name"] == "conversations.page"]
    assert {case.partition(",")[0] for case in scanned["cases"]} <= {"typical", "worst"}
    assert any(line.startswith("+") and "Seq Scan on conversations" in line for line in scanned["details"])


def changes(saved: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], tolerance: int) -> str:
    """What `compare_plans` says of the saved plans after their file was changed, to the plans as saved."""
    document = json.loads(saved.read_text())
    change(document)
    path = tmp_path / "edited.json"
    path.write_text(json.dumps(document))
    found = compare_plans(read(str(path)), read(str(saved)), tolerance)
    return "\n".join(f"{change.name} {change.what} [{'; '.join(change.cases)}]" for change in found)


def test_what_counts_as_more_buffers_is_a_choice(saved: Path, tmp_path: Path) -> None:
    def fewer(document: dict[str, Any]) -> None:
        document["plans"]["users.export"]["worst, custom"]["buffers"] = 1000
        document["plans"]["users.delete"]["worst, custom"]["buffers"] -= FEW_BUFFERS

    buffers = json.loads(saved.read_text())["plans"]["users.export"]["worst, custom"]["buffers"]
    percent = (buffers - 1000) // 10
    text = f"users.export touches {buffers} buffers instead of 1000 [worst, custom]"
    assert changes(saved, tmp_path, fewer, percent - 1) == text
    assert changes(saved, tmp_path, fewer, percent + 1) == ""


def test_queries_that_came_went_changed_or_failed_are_named(saved: Path, tmp_path: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        plans, texts = document["plans"], document["texts"]
        del plans["queue.due"], texts["queue.due"]
        plans["old.query"], texts["old.query"] = plans["queue.drop"], "0"
        texts["usage.forget"] = "another"
        plans["usage.forget"]["typical, custom"]["shape"] = ["Result"]
        del plans["queue.clear"]
        document["failed"]["queue.clear"] = "it was locked"

    assert changes(saved, tmp_path, change, 25).splitlines() == [
        "old.query is gone []",
        "queue.clear failed when the plans were saved (it was locked); save them anew []",
        "queue.due is new; save the plans to have it compared []",
        "usage.forget has another plan; its text changed too [typical, custom]",
    ]


def test_a_query_that_fails_is_told_and_the_others_are_saved(
    full: tuple[str, Connection], run: Run, saved: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plans.json"
    full[1].execute("alter table queued_messages rename to away")
    try:
        status, text = run("--save", str(path))
        assert status == 1
        assert 'failed queue.due: queue.due: relation "queued_messages" does not exist' in text
        assert "conversations.page" in json.loads(path.read_text())["plans"]
        assert "queue.due fails: " in run("--compare", str(saved))[1]
    finally:
        full[1].execute("alter table away rename to queued_messages")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "can't be read: No such file or directory"),
        ("plans", "isn't JSON"),
        ("[]", "has no saved plans"),
        ('{"kind": "chat-api sql plans", "format": 9}', "has the format 9, and this release reads 1"),
        (f'{{{HEAD}, "plans": {{"x": 1}}}}', "is damaged"),
        (
            f'{{{HEAD}, "plans": {{}}, "texts": {{}}, "failed": {{}}, "migrations": [], "server": "18"}}',
            "is damaged",
        ),
    ],
)
def test_a_file_of_nonsense_is_refused_before_anything_is_executed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, complaint: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/none")
    path = tmp_path / "plans.json"
    if text is not None:
        path.write_text(text)
    status, said = run("--compare", str(path))
    assert (status, complaint in said) == (2, True), said


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/tmp", "can't be read: Is a directory"),
        ("/proc/self/mem", "can't be read: Input/output error"),
        ("/dev/zero", "is longer than 100000 bytes: it has no saved plans"),
    ],
)
def test_what_is_no_file_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, path: str, complaint: str
) -> None:
    monkeypatch.setattr(plan_file, "MAX_BYTES", 100_000)
    assert run("--compare", path) == (2, f"chat-api: {path} {complaint}\n")


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/nonexistent/plans.json", "No such file or directory"), ("/dev/full", "No space left on device")],
)
def test_plans_that_cannot_be_written_are_told(run: Run, path: str, reason: str) -> None:
    status, text = run("--save", path)
    assert (status, text.splitlines()[-1]) == (1, f"chat-api: {path} can't be written: {reason}"), text


def test_a_database_that_was_never_migrated_says_so(
    postgres: Postgres, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.dsn())
    status, text = run("--save", str(tmp_path / "plans.json"))
    assert (status, "run `chat-api migrate` first" in text) == (1, True), text
    assert not (tmp_path / "plans.json").exists()
