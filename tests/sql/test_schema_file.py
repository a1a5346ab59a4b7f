"""sql/schema.sql, which a DBA reads, is the schema that the migrations make."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from chat_api.commands.sql.catalog import read_catalog
from chat_api.dev.postgres.server import Postgres
from chat_api.folders import query_files
from chat_api.postgres.queries import load_queries
from tests.conftest import PROGRAMS
from tests.support.queries import Connection
from tools.schema_file import WIDTH, dumped, written_out

# Other releases of PostgreSQL and its pg_dump format some things differently.
pytestmark = pytest.mark.skipif(
    PROGRAMS is not None, reason="sql/schema.sql is written by the development stack's PostgreSQL alone"
)


@pytest.fixture
def schema(checkout: Path) -> str:
    return (checkout / "sql" / "schema.sql").read_text()


def test_it_is_what_the_migrations_make(schema: str, database_url: str) -> None:
    assert written_out(database_url) == schema, "make schema writes it again"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("alter table messages alter column content drop not null", "    content text,"),
        (
            "alter table messages alter column role set default 'User'",
            "    role varchar(20) default 'User'::varchar not null,",
        ),
        ("alter table messages alter column model_tag type varchar(120)", "    model_tag varchar(120),"),
        (
            "alter table journal drop constraint ck_journal_seqs",
            "    events json not null,\n    constraint journal_pkey primary key (generation_id, next_seq)\n)",
        ),
        ("alter table journal set (fillfactor = 70)", "fillfactor='70'"),
        (
            "alter table workers enable row level security",
            "alter table workers enable row level security;",
        ),
        ("create policy p on workers using (id is null)", "create policy p on workers using ((id is null));"),
        (
            "create index i on messages (role) where role = 'System'",
            "create index i on messages using btree (role) where role::text = 'System'::text;",
        ),
        (
            "create or replace function chat_for_everyone() returns boolean language sql as 'select TRUE'",
            "as $$select TRUE$$;",
        ),
        ("create view v as select id from workers", "create view v as\n select id\n   from workers;"),
        (
            "create type mood as enum ('Good', 'bad')",
            "create type mood as enum (\n    'Good',\n    'bad'\n);",
        ),
        (
            "create trigger t before update on workers execute function suppress_redundant_updates_trigger()",
            "create trigger t before update on workers",
        ),
        ("comment on index idx_generations_unfinished_worker is 'It''s Bob''s'", "is\n'It''s Bob''s';"),
        ("grant select on workers to public", "grant select on table workers to public;"),
        (
            "revoke execute on function chat_uuid7() from public",
            "revoke all on function chat_uuid7() from public;",
        ),
        (
            "update service_rights set columns = '{id}' where privilege = 'delete'",
            "('workers', 'delete', '{id}')",
        ),
    ],
)
async def test_a_change_of_any_kind_shows(
    change: str, shown: str, sql: Connection, schema: str, database_url: str
) -> None:
    assert shown not in schema
    await sql.execute(change)
    assert shown in written_out(database_url)


def test_a_database_made_from_it_is_the_migrated_one(
    schema: str, postgres: Postgres, database_url: str
) -> None:
    name = "made_from_the_schema_file"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {name}")
        with psycopg.connect(postgres.dsn(name), autocommit=True) as connection:
            connection.execute(schema.encode())
        made = dumped(postgres.dsn(name))
        admin.execute(f"drop database {name}")
    # Each dump has its own key, and the order of rows varies. PostgreSQL moves the casts and parentheses of a
    # check when it reads the definition that it printed.
    varying = re.compile(r"^\\.*|::(?:character varying|text)(?:\[\])?|[(),;]", re.MULTILINE)
    found, expected = (sorted(varying.sub("", text).splitlines()) for text in (made, dumped(database_url)))
    assert found == expected


def test_it_depends_on_no_run_and_no_minor_release(schema: str) -> None:
    assert not re.search(r"restrict|\b18\.|owner to|^set |dump complete|yoyo_l", schema, re.MULTILINE)


def test_its_lines_are_short_where_they_are_not_quoted(schema: str) -> None:
    outside = re.sub(r"^--.*?$|\$\$.*?\$\$|'(?:[^']|'')*'", "", schema, flags=re.DOTALL | re.MULTILINE)
    assert max(map(len, outside.splitlines())) <= WIDTH


def test_no_one_takes_it_for_queries(checkout: Path) -> None:
    files = {path.name for path in (checkout / "sql").glob("*.sql")}
    assert files - {path.name for path in query_files()} == {"schema.sql"}
    assert {name.partition(".")[0] for name in load_queries()} == {path.stem for path in query_files()}
    assert set(read_catalog()) == set(load_queries())
