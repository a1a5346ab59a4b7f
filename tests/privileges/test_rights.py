"""The service's role has the rights that the service needs, and no others."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from chat_api.postgres.queries import load_queries
from chat_api.settings import Settings
from tests.conftest import Start
from tests.privileges.conftest import OWNER, SERVICE, Script
from tests.support.auth_service import AuthService
from tests.support.hot_paths import walk
from tests.support.model_server import ModelServer
from tests.support.queries import Chat, Connection, call_with_anything, run

QUERIES = sorted(load_queries())


async def test_every_hot_path_works_with_these_rights_alone(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Connection
) -> None:
    one, other = await start(settings), await start(settings)
    await walk(one, other, user, model, sql)
    users = await sql.fetch(
        "select distinct usename from pg_stat_activity"
        " where application_name = 'chat-api' and datname = current_database()"
    )
    assert [row["usename"] for row in users] == [SERVICE]


async def test_every_query_runs(service: Connection) -> None:
    for name in QUERIES:
        await call_with_anything(service, name)


def taken_one_by_one(sql: psycopg.Connection[Any]) -> list[str]:
    """A statement that revokes it, for each right of the service on each column."""
    # The right on the sequence is checked when a default calls nextval(), not when a statement is planned;
    # that on this function when chat_delete calls it.
    rows = sql.execute(
        "select object, privilege, columns from service_rights"
        " where object not in ('chat_position', 'chat_set_aside(uuid)') order by object, privilege"
    )
    return [
        f"revoke {privilege}{f' ({column})' if column else ''}"
        f" on {'function' if '(' in thing else 'table'} {thing} from {SERVICE}"
        + (", public" if "(" in thing else "")
        for thing, privilege, columns in rows
        for column in columns or [""]
    ]


NIL = "'00000000-0000-0000-0000-000000000000'"
PLANNED = {"max_running": "1", "seconds": "1", "days": "1", "after": NIL, "active_message_id": NIL}


def refused(sql: psycopg.Connection[Any]) -> list[str]:
    """The queries that PostgreSQL refuses to plan for the service's role."""
    names = []
    sql.execute(f"set local role {SERVICE}")
    for name in QUERIES:
        query = load_queries()[name]
        # Parts that a null parameter removes from the plan are not checked.
        values = [PLANNED.get(name, "null") for name in query.parameters]
        given = f"({', '.join(values)})" if values else ""
        try:
            with sql.transaction(force_rollback=True):
                sql.execute(f"prepare p as {query.text}".encode())
                sql.execute(f"explain execute p{given}".encode())
        except psycopg.errors.InsufficientPrivilege:
            names.append(name)
        finally:
            sql.execute("deallocate all")
    return names


def test_each_right_is_needed_by_a_query(owner_url: str, database_url: str) -> None:
    unneeded = []
    with psycopg.connect(database_url, autocommit=True) as sql:
        statements = taken_one_by_one(sql)
        assert len(statements) > 40
        for statement in statements:
            with sql.transaction(force_rollback=True):
                assert sql.execute("select chat_missing_rights(%s)", (SERVICE,)).fetchall() == []
                sql.execute(statement)
                if not refused(sql):
                    unneeded.append(statement)
    assert unneeded == []


async def test_the_right_to_the_next_number_is_needed(sql: Connection, service: Connection) -> None:
    chat = await Chat().open(sql)
    await sql.execute(f"revoke update on chat_position from {SERVICE}")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="chat_position"):
        await chat.begin(service)
    await sql.execute("select chat_grant($1)", SERVICE)
    await chat.begin(service)


# What the owner may do (it does so, and rolls it back), but the service may not.
FORBIDDEN = [
    "select id from users",
    "insert into users (id, email) values (gen_random_uuid(), 'x')",
    "delete from users",
    "select secret from other.secrets",
    "create table other.mine (id integer)",
    "create table public.mine (id integer)",
    "create function public.mine() returns integer language sql as 'select 1'",
    "create schema mine",
    "alter table conversations add column mine integer",
    "alter table messages disable row level security",
    "alter function chat_uuid7() rename to mine",
    "drop table journal cascade",
    "drop function chat_uuid7() cascade",
    "drop index idx_generations_unfinished_worker",
    "create index mine on messages (role)",
    "truncate journal",
    "truncate conversations cascade",
    f"select chat_revoke('{SERVICE}')",
    "update conversations set user_id = gen_random_uuid()",
    "update conversations set created_at = now()",
    "insert into usage select * from usage",
    "update usage set cost = 0",
    "update spending set spent = 0",
    "insert into legal_hold (user_id, reason) values (gen_random_uuid(), 'x')",
    "delete from legal_hold",
    "insert into api_keys values (default, gen_random_uuid(), 'x', 'x', sha256('x'), '{admin}')",
    "update api_keys set scopes = '{admin}'",
    "update messages set content = 'other'",
    "update messages set role = 'system'",
    "update inactive_messages set content = 'other'",
    "truncate inactive_messages",
    "alter table inactive_messages disable row level security",
    "update generations set conversation_id = gen_random_uuid()",
    "update generations set user_message_id = gen_random_uuid()",
    "update journal set events = '[]'",
    "update workers set id = gen_random_uuid()",
    "delete from _yoyo_migration",
    "insert into _yoyo_migration (migration_hash) values ('x')",
    "select migration_id from _yoyo_log",
    "delete from yoyo_lock",
    "select object from service_rights",
    "update service_rights set columns = '{}'",
    "alter table conversations owner to current_user",
]


@pytest.fixture
async def neighbours(sql: Connection) -> None:
    """A table users of the auth service, and another schema; the owner has all rights on both."""
    await sql.execute(
        f"create table users (id uuid primary key, email text); alter table users owner to {OWNER};"
        f"create schema other authorization {OWNER}; create table other.secrets (secret text);"
        f"alter table other.secrets owner to {OWNER}"
    )


@pytest.mark.usefixtures("neighbours")
@pytest.mark.parametrize("statement", FORBIDDEN)
async def test_it_may_not(owner: Connection, service: Connection, statement: str) -> None:
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute(statement)
    await transaction.rollback()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(statement)


async def test_it_hands_no_right_on(service: Connection, sql: Connection) -> None:
    rights = (
        "select relname, relacl::text from pg_class where relname in ('conversations', 'journal') order by 1"
    )
    before = await sql.fetch(rights)
    for statement in ("grant select on conversations to public", f"grant truncate on journal to {SERVICE}"):
        await service.execute(statement)  # PostgreSQL warns, but grants nothing
    assert await sql.fetch(rights) == before


@pytest.mark.parametrize(
    "statement", [f"set role {OWNER}", "set role postgres", "copy messages to program 'cat'"]
)
async def test_it_becomes_nobody_else(service: Connection, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(statement)


DECOY = """
create temporary table {table} (like public.{table} including all);
create or replace function pg_temp.whose() returns trigger language plpgsql as
$$ begin raise exception 'with the rights of %', current_user; end $$;
create trigger whose before insert on pg_temp.{table} for each row execute function pg_temp.whose();
grant all on pg_temp.{table} to public
"""


async def test_a_table_of_its_own_is_not_taken_for_the_owners(
    service: Connection, sql: Connection, script: Script
) -> None:
    """Code that runs with the owner's rights would run the table's triggers with them."""
    script("partition-messages/1-prepare.sql")
    decoys = ("allowances", "messages_partitioned", "usage", "spending")
    await sql.execute(f"grant select on {', '.join(decoys)} to public")  # to be copied below
    await sql.execute(
        "insert into budgets (scope, period, unit, amount) values ('each', 'day', 'tokens', 999)"
    )
    for table in decoys:
        await service.execute(DECOY.format(table=table))
    chat = await Chat().open(sql)
    limit = {"name": "sends_per_user", "subject": str(chat.user_id), "every": "2 s", "period": "60 s"}
    await chat.finish(service, await chat.begin(service, limits=json.dumps([limit])))
    assert await sql.fetchval("select count(*) from allowances") == 1
    assert await sql.fetchval("select count(*) from messages_partitioned") == 2
    assert await sql.fetchval("select count(*) from usage, spending") == 1


async def test_what_copies_messages_with_the_owners_rights_is_no_help_to_write_elsewhere(
    service: Connection, script: Script
) -> None:
    script("partition-messages/1-prepare.sql")
    await service.execute("create temporary table mine (object text, privilege text, columns text[])")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(
            "create trigger mine after insert on mine referencing new table as come"
            " for each statement execute function messages_follow('service_rights');"
            "insert into mine values ('messages', 'update', '{}')"
        )


async def test_deletion_of_a_conversation_takes_all_of_it_without_a_right_on_the_rest(
    service: Connection, sql: Connection
) -> None:
    chat = await Chat().open(sql)
    await chat.finish(service, await chat.begin(service))
    assert len(await run(service, "conversations.delete", id=chat.id, user_id=chat.user_id)) == 1
    for table in ("conversations", "messages", "generations"):
        assert await sql.fetchval(f"select count(*) from {table}") == 0


async def test_a_right_that_is_missing_is_told_in_the_log_and_to_nobody_else(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    sql: Connection,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = await start(settings)
    await sql.execute(f"revoke insert on conversations from {SERVICE}")
    await sql.execute(f"revoke insert (user_id) on conversations from {SERVICE}")
    response = await client.post("/api/conversations", headers=user)
    assert response.status == 503
    body = await response.json()
    assert body["code"] == "database_not_migrated"
    assert "permission" not in body["detail"]
    assert "permission denied for table conversations" in capsys.readouterr().out
    await sql.execute(f"select chat_grant('{SERVICE}')")
    assert (await client.post("/api/conversations", headers=user)).status == 201


async def test_beside_the_auth_services_users_it_needs_no_right_on_them(
    start: Start,
    settings: Settings,
    auth: AuthService,
    sql: Connection,
    user: dict[str, str],
    model: ModelServer,
) -> None:
    """As in an adopted database: foreign keys are checked with the table owner's rights."""
    await sql.execute(
        "create table users (id uuid primary key);"
        "alter table conversations add constraint conversations_user_id_fkey"
        " foreign key (user_id) references users (id) on delete cascade"
    )
    client = await start(settings)
    refused = await client.post("/api/conversations", headers=user)
    assert (await refused.json())["code"] == "unknown_user"
    known = uuid4()
    await sql.execute("insert into users (id) values ($1)", known)
    theirs = auth.sign_in(known)
    made = await client.post("/api/conversations", headers=theirs)
    assert made.status == 201
    await sql.execute("delete from users")
    assert await sql.fetchval("select count(*) from conversations") == 0
