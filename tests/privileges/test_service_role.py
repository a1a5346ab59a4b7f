"""The DBA chooses the service's role, at any time: by SERVICE_ROLE, or by chat_grant in psql."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from psycopg import sql

from chat_api import folders
from chat_api.cli import main
from chat_api.folders import migrations_dir
from chat_api.migrate import apply
from chat_api.migrate.apply import apply_migrations, grant_rights, rollback_migrations
from chat_api.postgres.session import SessionError
from chat_api.settings import Settings
from chat_api.settings.database_url import parse_dsn
from tests.conftest import Start
from tests.migrate import earlier
from tests.privileges.conftest import OWNER, SERVICE, url_of
from tests.support.hot_paths import walk
from tests.support.model_server import ModelServer

Admin = psycopg.Connection[Any]
pytestmark = pytest.mark.usefixtures("template")  # which makes the roles


@pytest.fixture
def admin(postgres_dsn: str) -> Iterator[Admin]:
    """A superuser's session, in a database that isn't the service's."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def role(admin: Admin) -> Iterator[str]:
    """A new role with an unusual name."""
    name = f'Service of "us" {uuid4().hex}'
    admin.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    yield name
    admin.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


@pytest.fixture
def fresh(admin: Admin, postgres_dsn: str, role: str) -> Iterator[str]:
    """An empty database that OWNER owns. It is dropped before `role`."""
    name = f"fresh_{uuid4().hex}"
    admin.execute(f"create database {name} owner {OWNER}")
    yield url_of(OWNER, replace(parse_dsn(postgres_dsn), database=name).libpq())
    admin.execute(f"drop database {name} with (force)")


def missing(url: str, role: str) -> list[str]:
    """The rights that a role lacks to run the service."""
    with psycopg.connect(url) as session:
        return [text for (text,) in session.execute("select chat_missing_rights(%s)", (role,))]


def workers_of(url: str) -> list[str]:
    """The roles that run the service."""
    with psycopg.connect(url) as session:
        return [name for (name,) in session.execute("select chat_service_roles() order by 1")]


def test_it_is_granted_with_the_migrations(fresh: str, role: str) -> None:
    apply_migrations(fresh, role)
    assert missing(fresh, role) == []
    assert workers_of(fresh) == [role]
    with psycopg.connect(url_of(role, fresh)) as service:
        assert service.execute("select count(*) from conversations").fetchone() == (0,)


def test_without_one_the_migrations_grant_nothing_and_the_owner_runs_it(fresh: str) -> None:
    apply_migrations(fresh)
    assert workers_of(fresh) == []
    assert missing(fresh, OWNER) == []


def test_one_that_is_named_later_is_granted_then_and_once(
    fresh: str, role: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    apply_migrations(fresh)
    monkeypatch.setenv("DATABASE_URL", fresh)
    monkeypatch.setenv("SERVICE_ROLE", role)
    assert main(["migrate"]) == 0
    first, *done = capsys.readouterr().out.splitlines()
    assert first == "nothing to apply"
    assert len(done) > 15
    assert all(re.fullmatch(r'done: grant .+ to "Service of ""us"" \w+"', line) for line in done), done
    assert missing(fresh, role) == []
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "nothing to apply\n"


def test_a_role_that_isnt_there_is_named_with_the_statement_that_makes_it(
    fresh: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh)
    monkeypatch.setenv("SERVICE_ROLE", "No one")
    for _ in range(2):
        assert main(["migrate"]) == 1
        stderr = capsys.readouterr().err
        assert "SERVICE_ROLE names the role 'No one', which doesn't exist" in stderr
        assert "create role \"No one\" login password '…'" in stderr
        apply_migrations(fresh)  # also when there is nothing to apply


def test_another_one_takes_its_place(fresh: str, role: str) -> None:
    apply_migrations(fresh, SERVICE)
    assert len(grant_rights(fresh, role)) > 15
    assert workers_of(fresh) == sorted([role, SERVICE])
    with psycopg.connect(fresh, autocommit=True) as owner:
        owner.execute("select chat_revoke(%s)", (SERVICE,))
    assert workers_of(fresh) == [role]
    with (
        psycopg.connect(url_of(SERVICE, fresh)) as former,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        former.execute("select id from conversations")


def test_four_at_once_grant_without_standing_in_each_others_way(fresh: str, role: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(apply_migrations, fresh, role) for _ in range(4)]:
            done.result(60)
    with psycopg.connect(fresh, autocommit=True) as owner:
        owner.execute("select chat_revoke(%s)", (role,))
    with ThreadPoolExecutor(4) as threads:
        granted = [done.result(60) for done in [threads.submit(grant_rights, fresh, role) for _ in range(4)]]
    assert sorted(map(bool, granted)) == [False, False, False, True]


MORE = """
-- depends: {before}
create table more (id integer, note text);
insert into service_rights (object, privilege, columns) values ('more', 'insert', '{{note}}');
do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
"""


@pytest.fixture
def one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Deploy a version with one more migration, which adds a table."""

    def bring() -> None:
        before = apply.known_migrations()[-1]
        folder = Path(shutil.copytree(migrations_dir(), tmp_path / "migrations"))
        (folder / "9999.add-more.sql").write_text(MORE.format(before=before))
        for module in (apply, folders):
            monkeypatch.setattr(module, "migrations_dir", lambda: folder)

    return bring


def test_later_migrations_grant_to_whoever_runs_it_though_nobody_names_him(
    fresh: str, role: str, admin: Admin, one_more: Callable[[], None]
) -> None:
    apply_migrations(fresh, role)
    renamed = f"renamed_{uuid4().hex}"
    admin.execute(sql.SQL("alter role {} rename to {}").format(*map(sql.Identifier, (role, renamed))))
    try:
        one_more()
        assert apply_migrations(fresh) == ["9999.add-more"]
        with psycopg.connect(url_of(renamed, fresh)) as service:
            service.execute("insert into more (note) values ('x')")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                service.execute("insert into more (id) values (1)")
    finally:
        admin.execute(sql.SQL("alter role {} rename to {}").format(*map(sql.Identifier, (renamed, role))))


def test_a_reader_beside_it_gets_nothing(fresh: str, role: str, one_more: Callable[[], None]) -> None:
    """For example a backup's or a monitor's role, with select on everything."""
    apply_migrations(fresh)
    with psycopg.connect(fresh, autocommit=True) as owner:
        owner.execute(
            sql.SQL("grant select on all tables in schema public to {}").format(sql.Identifier(role))
        )
    one_more()
    apply_migrations(fresh)
    assert workers_of(fresh) == []
    assert any("insert" in right for right in missing(fresh, role))


def test_rolled_back_the_rights_are_gone_and_applied_again_they_are_back(fresh: str, role: str) -> None:
    apply_migrations(fresh, role)
    while "0012.grant-service-rights" not in rollback_migrations(fresh):
        pass
    with psycopg.connect(fresh) as owner:
        for table in ("conversations", "messages", "generations", "journal", "workers", "_yoyo_migration"):
            held = "select has_table_privilege(%s, %s, 'select, insert, update, delete')"
            assert owner.execute(held, (role, table)).fetchone() == (False,), table
    apply_migrations(fresh, role)
    assert missing(fresh, role) == []


def test_migrating_as_the_services_role_is_refused(
    fresh: str, role: str, one_more: Callable[[], None]
) -> None:
    apply_migrations(fresh, role)
    assert apply_migrations(url_of(role, fresh)) == []  # nothing to do, as at each start of a container
    one_more()
    with pytest.raises(SessionError, match="permission denied"):
        apply_migrations(url_of(role, fresh))


async def test_an_adopted_databases_tables_stay_their_owners(
    admin: Admin,
    fresh: str,
    role: str,
    start: Start,
    settings: Settings,
    model: ModelServer,
    auth: Any,
) -> None:
    """The tables belong to the old service's role. The DBA has made the migrating role a member of it."""
    old, migrating = f"old_{uuid4().hex}", f"migrating_{uuid4().hex}"
    admin.execute(f"create role {old} login; create role {migrating} login in role {old}")
    name = parse_dsn(fresh).database
    admin.execute(f"grant create on database {name} to {old}")
    with psycopg.connect(url_of("postgres", fresh), autocommit=True) as session:
        session.execute(f"grant create on schema public to {old}")
    earlier.make(url_of(old, fresh), is_favorited=False)
    try:
        apply_migrations(url_of(migrating, fresh), role)
        service = settings.model_copy(update={"database_url": url_of(role, fresh)})
        one, other = await start(service), await start(service)
        connection = await asyncpg.connect(url_of("postgres", fresh))
        user_id = uuid4()
        await connection.execute("insert into users (id, email) values ($1, 'new@example.org')", user_id)
        await walk(one, other, auth.sign_in(user_id), model, connection)
        owners = await connection.fetch("select relname, pg_get_userbyid(relowner) as owner from pg_class")
        by_name = {row["relname"]: row["owner"] for row in owners}
        assert (by_name["conversations"], by_name["journal"]) == (old, migrating)
        await connection.close()
        with psycopg.connect(url_of(old, fresh)) as former:  # the old service keeps working beside it
            former.execute("update conversations set title = 'still mine'")
        with (
            psycopg.connect(url_of(role, fresh)) as session,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            session.execute("select id from users")
    finally:
        with psycopg.connect(url_of("postgres", fresh), autocommit=True) as session:
            session.execute(f"drop owned by {migrating}, {old} cascade")
        admin.execute(f"drop role {migrating}; drop role {old}")
