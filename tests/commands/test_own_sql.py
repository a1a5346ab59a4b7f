"""`chat-api sql` with SQL_DIR: what is said of a DBA's own queries."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_api.cli import main
from chat_api.folders import sql_dir
from chat_api.postgres import queries
from chat_api.postgres.queries import MEND, load_queries
from chat_api.settings import SettingsError

Run = Callable[..., tuple[int, str]]

STOP = "generations.stop"


@pytest.fixture
def folder(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty SQL_DIR, beside a migrated database."""
    folder = tmp_path / "own"
    folder.mkdir()
    monkeypatch.setenv("SQL_DIR", str(folder))
    monkeypatch.setenv("DATABASE_URL", database_url)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `chat-api sql …`. Returns its exit status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["sql", *arguments])
        written = capsys.readouterr()
        return status, written.out + written.err

    return run


@pytest.fixture
def file(folder: Path, run: Run) -> Path:
    """The file with a copy of one query."""
    assert run("copy", STOP)[0] == 0
    return folder / "generations.sql"


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text, which is there once."""
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def line_of(file: Path, text: str) -> int:
    """The number of the line that has this text."""
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


# copy, list, show, diff


def test_a_copy_is_the_packaged_query_and_says_so(file: Path, run: Run) -> None:
    packaged = load_queries()[STOP]
    head, mark, *rest = file.read_text().splitlines()
    assert mark == f"-- copy of: {packaged.fingerprint}"
    assert packaged.block is not None
    assert [head, *rest] == packaged.block.text.splitlines()
    assert load_queries(str(file.parent))[STOP].text == packaged.text
    assert run("check") == (0, run("check")[1])
    assert run("diff", STOP) == (0, "")


def test_copies_of_one_file_stand_below_each_other(file: Path, run: Run) -> None:
    status, text = run("copy", "generations.attach")
    line = line_of(file, "-- name: attach(")
    assert (status, text) == (
        0,
        f"{file}:{line}: edit it there, then `chat-api sql check`, and send SIGHUP\n",
    )
    assert file.read_text().splitlines()[line - 2] == ""
    own = load_queries(str(file.parent))
    assert {name for name, query in own.items() if query.is_own} == {STOP, "generations.attach"}


def test_every_query_can_be_copied_and_fits(folder: Path, run: Run) -> None:
    for name in load_queries():
        assert run("copy", name)[0] == 0, name
    status, text = run("check")
    assert (status, text) == (0, text)
    assert {name for name, query in load_queries(str(folder)).items() if query.is_own} == set(load_queries())
    assert run("diff") == (0, "")


def test_a_copy_overwrites_nothing(file: Path, run: Run) -> None:
    before = file.read_text()
    assert run("copy", STOP) == (2, f"chat-api: {file}:1: {STOP} is there already; edit that\n")
    assert file.read_text() == before


def test_a_copy_needs_a_folder_and_a_name(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = run("copy", "generations.stpo")
    assert (status, "did you mean generations.stop?" in text) == (2, True)
    monkeypatch.delenv("SQL_DIR")
    assert run("copy", STOP) == (2, "chat-api: set SQL_DIR to the folder of your own queries first\n")
    assert list(folder.iterdir()) == []


def test_a_folder_that_takes_no_file_is_named(folder: Path, run: Run) -> None:
    (folder / "generations.sql").mkdir()
    status, text = run("copy", STOP)
    assert status == 2
    assert text.startswith(
        f"chat-api: SQL_DIR: {folder / 'generations.sql'}: can't be read: Is a directory; "
    )


def test_list_and_show_know_own_ones(file: Path, run: Run) -> None:
    _, text = run("list")
    own = [line for line in text.splitlines() if "own, in place of the packaged one" in line]
    assert [line.split()[:2] for line in own] == [[STOP, f"{file}:1"]]
    entries = {entry["name"]: entry for entry in json.loads(run("list", "--json")[1])}
    assert [name for name, entry in entries.items() if entry["own"]] == [STOP]
    assert "copy of" not in entries[STOP]["description"]
    edit(file, "-- generations.stop", "-- generations.stop, ours")
    assert "ours" in run("show", STOP)[1]


def test_diff_shows_what_an_own_one_changes(file: Path, run: Run) -> None:
    edit(file, "-- generations.stop", "-- generations.stop, ours")
    status, text = run("diff", STOP)
    assert status == 1
    lines = text.splitlines()
    packaged = load_queries()[STOP]
    assert lines[:2] == [f"--- {packaged.place_at()}", f"+++ {file}:1"]
    changed = [line for line in lines[2:] if line.startswith(("+", "-"))]
    assert changed == [
        "-with conversation as ( -- generations.stop",
        "+with conversation as ( -- generations.stop, ours",
    ]
    assert run("diff") == (1, text)
    assert json.loads(run("diff", "--json")[1]) == {STOP: text}


def test_diff_of_a_packaged_one_says_how_to_begin(file: Path, run: Run) -> None:
    assert file.exists()
    status, text = run("diff", "generations.attach")
    assert status == 2
    assert text.endswith("is the packaged one; `chat-api sql copy generations.attach` begins an own one\n")


def test_explain_runs_the_own_one(file: Path, run: Run) -> None:
    edit(file, "with conversation as (", "with ours as materialized (select 1 as one), conversation as (")
    edit(file, "marked as m on true", "marked as m on (select one from ours) = 1")
    assert "CTE ours" in run("explain", STOP)[1]


def test_other_commands_run_the_own_one(folder: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("copy", "budgets.list")
    edit(folder / "budgets.sql", "    amount,\n    case", "    amount + 4242 as amount,\n    case")
    assert main(["budget", "set", "--each", "--period", "day", "--tokens", "1"]) == 0
    capsys.readouterr()
    assert main(["budget", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["amount"] == 4243


# check


def test_check_names_the_line_that_the_database_refuses(file: Path, run: Run) -> None:
    edit(file, "from conversations", "from conversation_s")
    status, text = run("check")
    assert status == 1
    assert f"query {STOP} " in text
    assert f'"conversation_s" does not exist ({file}:{line_of(file, "conversation_s")})\n' in text


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "    c.updated_at,\n",
            "",
            "returns day (text) as column 2, and the packaged one updated_at (timestamptz)",
        ),
        (
            "    c.id,\n",
            "    cast(c.id as text) as id,\n",
            "returns id (text) as column 1, and the packaged one id (uuid)",
        ),
        (
            " as conversation\n",
            " as conversation,\n    1 as one\n",
            "returns column 5, one (int4), and the packaged one doesn't",
        ),
        (
            "limit :max_rows",
            "limit cast(:max_rows as integer)",
            "takes max_rows as int4, and the packaged one takes it as int8",
        ),
    ],
)
def test_check_compares_parameters_and_columns(
    folder: Path, run: Run, old: str, new: str, problem: str
) -> None:
    run("copy", "conversations.page")
    file = folder / "conversations.sql"
    edit(file, old, new)
    status, text = run("check")
    assert status == 1
    assert f"query conversations.page {problem} ({file}:1)\n" in text


def test_check_tells_once_that_a_release_changed_what_was_copied(file: Path, run: Run) -> None:
    now = load_queries()[STOP].fingerprint
    mark = f"`-- copy of: {now}` below its first line"
    edit(file, f"-- copy of: {now}", "-- copy of: 0123456789ab")
    status, text = run("check")
    assert status == 1
    assert text.splitlines() == [
        f"query {STOP} has changed in this release since the own one was copied ({file}:1)",
        f"    chat-api sql diff {STOP}; take over what is new, then write {mark}",
    ]
    edit(file, "-- copy of: 0123456789ab", f"-- copy of: {now}")
    assert run("check")[0] == 0


def test_a_release_that_changes_only_the_comment_is_none(
    file: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert file.exists()
    next_release = tmp_path / "generations.sql"
    text = (sql_dir() / "generations.sql").read_text()
    for old, new, status in (("-- Asks the worker", "-- Has the worker", 0), ("-- generations.stop", "", 1)):
        assert old in text
        next_release.write_text(text.replace(old, new, 1))
        files = [path for path in queries.query_files() if path.name != "generations.sql"]
        with monkeypatch.context() as patch:
            patch.setattr(queries, "query_files", lambda found=(*files, next_release): list(found))
            queries.read_packaged.cache_clear()
            assert run("check")[0] == status, new
        queries.read_packaged.cache_clear()


def test_check_tells_of_one_without_a_mark(file: Path, run: Run) -> None:
    now = load_queries()[STOP].fingerprint
    edit(file, f"-- copy of: {now}\n", "")
    status, text = run("check")
    assert status == 1
    assert text.endswith(f"({file}:1)\n    write `-- copy of: {now}` below its first line\n")


# What makes a folder unusable


def refused(folder: Path) -> list[str]:
    """What is said of the folder, without its path and without what to do."""
    with pytest.raises(SettingsError) as error:
        load_queries(str(folder))
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"SQL_DIR: {folder}{os.sep}") and line.endswith(f"; {MEND}") for line in lines)
    return [line.removeprefix(f"SQL_DIR: {folder}{os.sep}").removesuffix(f"; {MEND}") for line in lines]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("-- name: stpo()\nselect 1;", "this release has no query generations.stpo"),
        ("-- name: stop\nselect 1;", "a query begins with a line such as `-- name: stop(id, user_id)^`"),
        ("--name: stop(id)\nselect 1;", "a query begins with a line such as `-- name: stop(id, user_id)^`"),
        ("-- name: stop(id)$\nselect 1;", "a query begins with a line such as `-- name: stop(id, user_id)^`"),
        ("select 1;", "there is SQL before the first line `-- name: …`"),
        ("-- name: stop(id, id)\nselect :id;", "the first line names a parameter twice"),
        ("-- name: stop(id)\n-- Stops.\n", "empty sql for: stop"),
        ("-- name: stop(id)\nselect :id, :other;", "undeclared parameter name in query stop: other"),
        ("-- name: stop(id, other)\nselect :id;", "unused declared parameter in query stop: ['other']"),
        (
            "-- name: stop(conversation_id, user_id)\nselect :conversation_id, :user_id;",
            "generations.stop must take (conversation_id, generation_id, user_id) as the packaged one does, ",
        ),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(folder: Path, text: str, problem: str) -> None:
    (folder / "generations.sql").write_text(f"-- Ours.\n\n{text}\n")
    (said,) = refused(folder)
    assert said.startswith(f"generations.sql:3: {problem}")


@pytest.mark.parametrize(
    ("lines", "line", "problem"),
    [
        ("select :id, -- it's an id\n    :other, 'x';", 4, "the comment `-- it's an id` is read as SQL"),
        ("select :id, -- not :this\n    :other;", 4, "the comment `-- not :this` is read as SQL"),
        ("select :id,\n    'one, :other, 'two', 3;", 5, "a quote is opened here, and never closed"),
    ],
)
def test_a_text_that_is_read_otherwise_than_meant_is_named_with_its_line(
    folder: Path, lines: str, line: int, problem: str
) -> None:
    (folder / "users.sql").write_text(f"-- Ours.\n\n-- name: count(id, other)\n{lines}\n")
    (said,) = refused(folder)
    assert said.startswith(f"users.sql:{line}: {problem}")


def test_every_problem_is_told(file: Path, run: Run) -> None:
    folder = file.parent
    twice = file.read_text()
    file.write_text(f"{twice}\n{twice}")
    (folder / "journals.sql").write_text("-- name: write()\nselect 1;\n")
    (folder / "users.sql").write_bytes(b"-- name: count(user_id)^\n-- caf\xe9\nselect 1;\n")
    (folder / "schema.sql").write_text("create table t ();")
    (folder / "README.md").write_text("Ours.")
    (folder / ".#users.sql").symlink_to("somebody@host.1")  # as Emacs marks what is being edited
    again = len(twice.splitlines()) + 2
    assert refused(folder) == [
        f"generations.sql:{again}: {STOP} is defined in line 1 already; keep one of the two",
        "users.sql:2: must be UTF-8 text, which this line isn't",
        "journals.sql:1: this release has no query journals.write",
    ]
    status, text = run("list")
    assert (status, text.count("\n")) == (2, 3)
    assert text.startswith("chat-api: SQL_DIR: ")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as error:
        load_queries(str(tmp_path / "nowhere"))
    assert str(error.value) == f"SQL_DIR {tmp_path / 'nowhere'}: can't be read: No such file or directory"


def test_a_packaged_file_with_a_mistake_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "generations.sql"
    file.write_text("-- name: stop(id)\nselect :user_id;\n")
    monkeypatch.setattr(queries, "query_files", lambda: [file])
    queries.read_packaged.cache_clear()
    with pytest.raises(SettingsError) as error:
        load_queries()
    queries.read_packaged.cache_clear()
    assert str(error.value).startswith(f"{file}:1: undeclared parameter name in query stop: user_id")
