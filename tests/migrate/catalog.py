"""What PostgreSQL says the schema is: compared between databases, without oids and column order."""

from typing import Any

import psycopg

# Tables of the auth service and of yoyo are not ours. The foreign key that may differ is tested by itself.
QUERIES = {
    "columns": """
        select relname, attname, format_type(atttypid, atttypmod), attnotnull,
            pg_get_expr(adbin, adrelid), col_description(pg_class.oid, attnum)
        from pg_attribute inner join pg_class on pg_class.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where relkind = 'r' and attnum > 0 and not attisdropped
    """,
    "constraints": """
        select relname, conname, contype::text, convalidated, pg_get_constraintdef(pg_constraint.oid)
        from pg_constraint inner join pg_class on pg_class.oid = conrelid
        where conname <> 'conversations_user_id_fkey'
    """,
    "indexes": """
        select relname, indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid, indisready
        from pg_index inner join pg_class on pg_class.oid = indrelid
    """,
    "tables": """
        select relname, obj_description(oid, 'pg_class'), reloptions from pg_class where relkind = 'r'
    """,
    "functions": """
        select proname, pg_get_functiondef(oid), obj_description(oid, 'pg_proc') from pg_proc
        where pronamespace = current_schema()::regnamespace
    """,
}


def catalog(connection: psycopg.Connection[Any]) -> dict[str, set[tuple[Any, ...]]]:
    """The schema by kind of object."""
    ours = "relnamespace = current_schema()::regnamespace and relname <> 'users' and relname !~ 'yoyo'"
    found = {}
    for kind, query in QUERIES.items():
        limit = "" if kind == "functions" else f"{'and' if 'where' in query else 'where'} {ours}"
        found[kind] = {tuple(map(str, row)) for row in connection.execute(query + limit)}
    return found
