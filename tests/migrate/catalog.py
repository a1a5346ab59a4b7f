"""The schema in PostgreSQL's catalog, without oids and column order, to compare databases."""

from typing import Any

import psycopg

# Without the tables of the auth service and of yoyo. The foreign key that may differ has a test of its own.
QUERIES = {
    "columns": """
        select relname, attname, format_type(atttypid, atttypmod), attnotnull,
            pg_get_expr(adbin, adrelid), col_description(pg_class.oid, attnum)
        from pg_attribute inner join pg_class on pg_class.oid = attrelid
        left join pg_attrdef on adrelid = attrelid and adnum = attnum
        where relkind in ('r', 'v') and attnum > 0 and not attisdropped
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
    "views": """
        select relname, pg_get_viewdef(oid), obj_description(oid, 'pg_class')
        from pg_class where relkind = 'v'
    """,
    "sequences": """
        select relname, seqincrement, seqstart, seqmin, seqmax, seqcycle
        from pg_sequence inner join pg_class on pg_class.oid = seqrelid
    """,
    "row security": """
        select relname, relrowsecurity, relforcerowsecurity, polname, polcmd::text, polroles,
            pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
        from pg_class left join pg_policy on polrelid = pg_class.oid where relkind = 'r'
    """,
    "triggers": """
        select relname, tgname, pg_get_triggerdef(pg_trigger.oid)
        from pg_trigger inner join pg_class on pg_class.oid = tgrelid where not tgisinternal
    """,
    "rights": """
        select relname, attname, relacl, attacl
        from pg_class inner join pg_attribute on attrelid = pg_class.oid
        where relkind in ('r', 'v', 'S') and not attisdropped
    """,
    "functions": """
        select proname, pg_get_functiondef(oid), obj_description(oid, 'pg_proc'), proacl from pg_proc
        where pronamespace = current_schema()::regnamespace
    """,
    "schemas": """
        select nspname, nspacl, obj_description(oid, 'pg_namespace') from pg_namespace where nspname !~ '^pg_'
    """,
}


def catalog(connection: psycopg.Connection[Any]) -> dict[str, set[tuple[Any, ...]]]:
    """The schema, by kind of object."""
    ours = (
        "relnamespace in (current_schema()::regnamespace, to_regnamespace('chat_report'))"
        " and relname <> 'users' and relname !~ 'yoyo'"
    )
    found = {}
    for kind, query in QUERIES.items():
        limit = "" if kind in ("functions", "schemas") else f"{'and' if 'where' in query else 'where'} {ours}"
        found[kind] = {tuple(map(str, row)) for row in connection.execute(query + limit)}
    return found
