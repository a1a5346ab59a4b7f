"""docs/operations/scale.md: what would be in Citus's way, derived from the schema and the statements."""

from __future__ import annotations

import re

from chat_api.postgres.queries import load_queries
from tests.docs.page import names, table
from tests.support.queries import Connection

COLUMN = "conversation_id"
OF_CONVERSATIONS = {"conversations": "id"}
"""Where the column that would distribute a table has another name."""
STAY = {"usage", "legal_hold"}
"""Tables that have the column and wouldn't be distributed: rows of other kinds have none."""

UNIQUE = """
select
    t.relname as table_name,
    i.relname as index_name,
    array(select a.attname::text from pg_attribute as a where a.attrelid = i.oid order by a.attnum) as columns
from pg_index as x
inner join pg_class as t on x.indrelid = t.oid
inner join pg_class as i on x.indexrelid = i.oid
where x.indisunique and t.relnamespace = 'public'::regnamespace
"""
COLUMNS = """
select c.relname, a.attname::text from pg_class as c
inner join pg_attribute as a on c.oid = a.attrelid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and a.attnum > 0
and c.relname not like '%yoyo%'
"""


async def tables(sql: Connection) -> tuple[set[str], set[str]]:
    """The tables that the column would distribute, and all others."""
    rows = await sql.fetch(COLUMNS)
    has = {row[0] for row in rows if row[1] == OF_CONVERSATIONS.get(row[0], COLUMN)} - STAY
    return has, {row[0] for row in rows} - has


async def test_each_table_is_named_with_what_would_become_of_it(sql: Connection) -> None:
    has, others = await tables(sql)
    written = {names(row[0])[0]: row[1] for row in table("scale.md", "Citus")}
    assert written.keys() == has | others
    by = {name: f"by `{OF_CONVERSATIONS.get(name, COLUMN)}`" for name in has}
    assert {name: how.partition(",")[0] for name, how in written.items() if how.startswith("by ")} == by


async def test_each_unique_index_without_the_column_is_named(sql: Connection) -> None:
    has, _ = await tables(sql)
    in_the_way = {
        row["index_name"]
        for row in await sql.fetch(UNIQUE)
        if row["table_name"] in has and OF_CONVERSATIONS.get(row["table_name"], COLUMN) not in row["columns"]
    }
    assert {names(row[0])[0] for row in table("scale.md", "Unique indexes in Citus's way")} == in_the_way


async def test_each_query_of_those_tables_that_takes_no_conversation_is_named(sql: Connection) -> None:
    has, _ = await tables(sql)
    in_the_way = set()
    for name, query in load_queries().items():
        text = re.sub("--.*", "", query.text)
        used = set(re.findall(r"\b(?:from|join|update|into)\s+(\w+)", text)) & has
        is_of_one = COLUMN in query.parameters or (
            name.startswith("conversations.") and "id" in query.parameters
        )
        if used and not is_of_one:
            in_the_way.add(name)
    assert {names(row[0])[0] for row in table("scale.md", "Queries in Citus's way")} == in_the_way
