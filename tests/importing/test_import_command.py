"""`chat-api user import` reads every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from chat_api.cli import main
from tests.importing.test_hostile_files import zipped
from tests.support.queries import Connection

FILES = Path(__file__).parent / "files"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `chat-api user import …`. Returns its exit status, stdout and stderr."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main(["user", "import", *(str(each) for each in arguments)])
        return (status, *capfd.readouterr())

    return run


async def test_a_file_of_another_product_is_imported_once(run: Run, sql: Connection) -> None:
    user_id = uuid4()
    assert run(user_id, FILES / "chatgpt.json") == (
        0,
        (
            f"imported 1 conversation and 6 messages of chatgpt for {user_id}; 1 left out\n"
            "  Masala chai: Pictures or files are named in their place: 2.\n"
            "  Damaged there: It isn't a conversation in a form that is known here.\n"
        ),
        "",
    )
    status, said, _ = run(user_id, FILES / "chatgpt.json")
    expected = (
        f"imported 0 conversations and 0 messages of chatgpt for {user_id}; 1 already there; 1 left out\n"
    )
    assert (status, said.partition("  ")[0]) == (0, expected)
    assert await sql.fetchval("select count(*) from conversations where user_id = $1", user_id) == 1


@pytest.mark.parametrize("name", ["claude", "open_webui", "librechat"])
async def test_its_content_says_what_it_is(run: Run, sql: Connection, tmp_path: Path, name: str) -> None:
    file = tmp_path / "chatgpt.jsonl"
    file.write_bytes(zipped(conversations_json=(FILES / f"{name}.json").read_bytes()))
    status, said, _ = run(uuid4(), file, "--json")
    report = json.loads(said)
    assert (status, report["source"], report["is_whole"]) == (0, name, True)
    assert await sql.fetchval("select count(*) from conversations") == report["conversations"]["added"] > 0


async def test_of_a_file_that_was_cut_the_beginning_is_imported_and_the_status_is_1(
    run: Run, sql: Connection, tmp_path: Path
) -> None:
    file = tmp_path / "cut.json"
    file.write_bytes((FILES / "claude.json").read_bytes()[:-10])
    status, said, _ = run(uuid4(), file)
    assert (status, "the file: The file ends in the middle" in said) == (1, True)
    assert await sql.fetchval("select count(*) from conversations") > 0


@pytest.mark.parametrize("content", [b"[1]", b"[", b"PK\x03\x04", b"{}", b"\xff\xfe[\0"])
def test_what_is_no_export_is_refused(run: Run, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    status, out, err = run(uuid4(), file)
    assert (status, out) == (1, "")
    assert err.startswith("chat-api: nothing was imported: ")
