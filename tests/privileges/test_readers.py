"""Who may read the reports sees all of them, and nothing else; and the reports are no way around the wall."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from chat_api.migrate.apply import apply_migrations, rollback_migrations
from tests.privileges.conftest import OWNER, SERVICE, url_of
from tests.support.queries import Chat, Connection

VIEWS = "select oid::regclass::text from pg_class where relnamespace = 'chat_report'::regnamespace order by 1"
TABLES = (
    "select relname::text from pg_class where relkind in ('r', 'v', 'S')"
    " and relnamespace = 'public'::regnamespace order by 1"
)


@pytest.fixture
async def reader(sql: Connection) -> AsyncIterator[str]:
    """The name of a role that may do nothing yet."""
    name = f"reader {uuid4().hex[:8]}"  # a name that must be quoted
    await sql.execute(f'create role "{name}" login')
    yield name
    await sql.execute(f'drop owned by "{name}"; drop role "{name}"')


async def names(connection: Connection, query: str) -> list[str]:
    return [row[0] for row in await connection.fetch(query)]


async def may_read(database_url: str, role: str, things: list[str]) -> list[str]:
    """Which of these the role can read, by reading them."""
    connection = await asyncpg.connect(url_of(role, database_url))
    read = []
    try:
        for thing in things:
            try:
                await connection.fetch(f"select * from {thing}")
                read.append(thing)
            except asyncpg.InsufficientPrivilegeError:
                pass
    finally:
        await connection.close()
    return read


async def test_a_reader_reads_each_view_and_no_table(
    sql: Connection, owner: Connection, database_url: str, reader: str
) -> None:
    views, tables = await names(sql, VIEWS), await names(sql, TABLES)
    assert (len(views) >= 5, "messages" in tables, "service_rights" in tables) == (True, True, True)
    assert await may_read(database_url, reader, views) == []
    granted = await names(owner, f"select chat_grant_reader('{reader}')")
    assert granted[-1] == f'grant usage on schema chat_report to "{reader}"'
    assert len(granted) == 1 + len(views)
    assert await may_read(database_url, reader, [*views, *tables]) == views
    assert await names(owner, "select chat_readers()") == [reader]
    assert await names(owner, f"select chat_grant_reader('{reader}')") == []
    await owner.execute("select chat_revoke_reader($1)", reader)
    assert await may_read(database_url, reader, views) == []
    assert await names(owner, "select chat_readers()") == []


@pytest.mark.parametrize("function", ["chat_grant_reader", "chat_revoke_reader"])
async def test_an_unknown_role_is_named(owner: Connection, function: str) -> None:
    with pytest.raises(asyncpg.UndefinedObjectError, match='there is no role "no one"'):
        await owner.execute(f"select {function}('no one')")


async def test_a_reader_hands_no_right_on_and_takes_none(
    sql: Connection, owner: Connection, database_url: str, reader: str
) -> None:
    await owner.execute("select chat_grant_reader($1)", reader)
    connection = await asyncpg.connect(url_of(reader, database_url))
    for statement in (
        f"select chat_grant_reader('{SERVICE}')",
        "delete from chat_report.limits",
        "create view chat_report.mine as select 1",
        "drop view chat_report.limits",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    await connection.close()


async def test_a_view_of_a_later_release_or_of_the_owners_own_comes_to_whoever_reads_already(
    owner: Connection, database_url: str, reader: str
) -> None:
    await owner.execute("select chat_grant_reader($1)", reader)
    await owner.execute("create view chat_report.later as select 1 as one")
    assert await may_read(database_url, reader, ["chat_report.later"]) == []
    # The block at the end of a migration:
    await owner.execute("do $$begin perform chat_grant_reader(reader) from chat_readers() as reader; end$$")
    assert await may_read(database_url, reader, ["chat_report.later"]) == ["chat_report.later"]


async def test_a_view_of_somebody_else_in_the_schema_prevents_no_grant(
    sql: Connection, owner: Connection, database_url: str, reader: str
) -> None:
    await sql.execute("create view chat_report.somebodys as select 1 as one")  # a superuser's
    await owner.execute("select chat_grant_reader($1)", reader)
    assert await may_read(database_url, reader, ["chat_report.somebodys"]) == []
    await owner.execute("select chat_revoke_reader($1)", reader)


@pytest.mark.usefixtures("wall")
async def test_behind_the_wall_a_reader_counts_the_rows_of_all_users(
    sql: Connection, owner: Connection, database_url: str, reader: str
) -> None:
    for _ in range(2):
        chat = await Chat().open(sql)
        await chat.speak(sql, (await chat.begin(sql), 0, [{}]))
    await owner.execute("select chat_grant_reader($1)", reader)
    connection = await asyncpg.connect(url_of(reader, database_url))
    for view in ("running_answers", "conversation_sizes"):
        assert await connection.fetchval(f"select count(*) from chat_report.{view}") == 2
    await connection.close()


@pytest.mark.usefixtures("wall")
async def test_the_services_role_reads_none_of_them(
    sql: Connection, service: Connection, database_url: str
) -> None:
    """With the owner's rights, they would show it the rows of every user."""
    await service.execute("select chat_for_everyone()")
    assert await may_read(database_url, SERVICE, await names(sql, VIEWS)) == []


async def test_an_owner_who_may_create_no_schema_is_told_what_to_do(
    sql: Connection, owner_url: str, database_url: str
) -> None:
    while "0061.create-reports" not in rollback_migrations(owner_url):
        pass
    database = await sql.fetchval("select current_database()")
    await sql.execute(
        f"alter database {database} owner to postgres; grant create on schema public to {OWNER}"
    )
    with pytest.raises(
        Exception, match="run `create schema chat_report authorization chat_owner`"
    ) as refused:
        apply_migrations(owner_url)
    assert f"{OWNER} may create no schema in the database {database}" in str(refused.value)
    await sql.execute(f"create schema chat_report authorization {OWNER}")
    assert "0061.create-reports" in apply_migrations(owner_url)
    await sql.execute(f"alter database {database} owner to {OWNER}")
