"""`chat-api sql check` where nothing can be written: on a standby, and in a read-only session."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from chat_api.cli import main
from tests.support.standby import catch_up, replicated

Capture = pytest.CaptureFixture[str]


def check(capsys: Capture) -> tuple[int, str]:
    status = main(["sql", "check"])
    written = capsys.readouterr()
    assert written.err == ""
    return status, written.out


def test_a_standby_is_checked_as_its_primary_is(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tmp_path: Path
) -> None:
    with replicated() as pair:
        monkeypatch.setenv("DATABASE_URL", pair.standby.dsn())
        status, said = check(capsys)
        assert status == 0, said
        assert f"queries fit {pair.standby.dsn()}" in said

        monkeypatch.setenv("SQL_DIR", str(tmp_path))
        for name in ("limits.prune", "conversations.page"):
            assert main(["sql", "copy", name]) == 0
        capsys.readouterr()
        assert check(capsys)[0] == 0, "own queries, too"
        own = tmp_path / "limits.sql"
        own.write_text(own.read_text().replace("from allowances", "from allowance"))
        status, said = check(capsys)
        assert status == 1
        assert 'query limits.prune relation "allowance" does not exist' in said
        monkeypatch.delenv("SQL_DIR")

        with psycopg.connect(pair.primary.dsn(), autocommit=True) as session:
            session.execute("drop index idx_conversations_user_updated")
            session.execute("alter table allowances rename column full_at to full_again_at")
        catch_up(pair.primary.dsn(), pair.standby.dsn())
        status, said = check(capsys)
        assert status == 1
        assert "index idx_conversations_user_updated is missing" in said
        assert "column allowances.full_at is missing" in said


def test_a_read_only_session_is_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as session:
        session.execute(f"alter database {session.info.dbname} set default_transaction_read_only = on")
    monkeypatch.setenv("DATABASE_URL", database_url)
    status, said = check(capsys)
    assert status == 0, said
