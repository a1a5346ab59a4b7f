"""What the role of DATABASE_URL lacks, and the statement that gives it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg

from chat_api.sql_tool.schema import Finding

# Schemas that hold the service's tables, and are closed to this role. The catalog is open to everybody.
_CLOSED = """
select n.nspname, quote_ident(n.nspname), current_user, quote_ident(current_user), pg_get_userbyid(n.nspowner)
from pg_class as c
inner join pg_namespace as n on c.relnamespace = n.oid
where c.relname = 'conversations' and c.relkind in ('r', 'p') and not has_schema_privilege(n.oid, 'usage')
"""

# No row where the function isn't there yet: then it is a migration that is missed first.
_OWNER = """
select quote_literal(current_user), pg_get_userbyid(c.relowner)
from pg_class as c
where c.oid = to_regclass('conversations') and to_regprocedure('chat_grant(name)') is not null
"""


def closed_schemas(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    """Where this role sees no table, as if there were none."""
    if connection.execute("select to_regclass('conversations')").fetchone() != (None,):
        return
    for name, schema, user, role, owner in connection.execute(_CLOSED).fetchall():
        yield Finding(
            "schema",
            name,
            f"is closed to {user}, who sees none of its tables",
            f"grant usage on schema {schema} to {role} -- as {owner}",
        )


def grant_remedy(connection: psycopg.Connection[Any]) -> str | None:
    """What gives this role every right that the queries want, and who may say it."""
    row = connection.execute(_OWNER).fetchone()
    return None if row is None else f"select chat_grant({row[0]}) -- as {row[1]}"
