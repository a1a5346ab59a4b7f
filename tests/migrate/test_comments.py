"""Every table, view and column of ours says what it is, in a sentence that a DBA would say."""

from __future__ import annotations

import re
from typing import Any

import psycopg
import pytest

from chat_api.migrate.apply import apply_migrations
from tests.migrate import earlier

Connection = psycopg.Connection[Any]

COMMENTS = """
select c.oid::regclass || coalesce('.' || a.attname, '') as name, d.description
from pg_class as c
cross join lateral (
    select 0 as attnum, null as attname
    union all
    select attnum, attname from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped
) as a
left join pg_description as d
    on d.classoid = 'pg_class'::regclass and d.objoid = c.oid and d.objsubid = a.attnum
where
    c.relnamespace in ('public'::regnamespace, 'chat_report'::regnamespace)
    and c.relkind in ('r', 'p', 'v')
    and c.relname !~ 'yoyo'
    and c.relname <> 'users'
"""


def comments(database_url: str) -> dict[str, str | None]:
    with psycopg.connect(database_url) as connection:
        return dict(connection.execute(COMMENTS).fetchall())


@pytest.mark.parametrize("origin", ["fresh", "adopted"])
def test_nothing_is_without_a_comment(empty_database: str, origin: str) -> None:
    if origin == "adopted":
        earlier.make(empty_database, is_favorited=False)
    apply_migrations(empty_database)
    found = comments(empty_database)
    assert len(found) > 100
    assert [name for name, comment in found.items() if not comment] == []


def test_each_is_a_sentence(database_url: str) -> None:
    odd = [
        f"{name}: {comment}"
        for name, comment in comments(database_url).items()
        if not (comment and re.fullmatch(r"(?:[A-Z]|v\d+: [A-Z]|\w+: )\S*(?: \S+){2,}[.)]", comment))
    ]
    assert odd == []


def test_the_columns_of_both_tables_of_messages_mean_the_same(database_url: str) -> None:
    found = comments(database_url)
    shared = {
        name.partition(".")[2]: comment for name, comment in found.items() if name.startswith("messages.")
    }
    differing = {name for name, comment in shared.items() if found[f"inactive_messages.{name}"] != comment}
    assert differing == {"parent_position"}  # null has a meaning in one of them only
